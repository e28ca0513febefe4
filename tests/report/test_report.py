"""What the report says, and what it says when something is missing or damaged."""

from __future__ import annotations

import html
import re
import time
from pathlib import Path

import pytest

from builder.cli.main import run
from builder.data.contents import CONTENTS
from builder.data.lock import read_lock
from builder.data.manifest import Artefact
from builder.data.testresults import BOOT, PORTS, TESTS
from builder.data.verification import Verification
from builder.foundation.digest import digest_bytes
from builder.foundation.errors import InputError
from builder.foundation.place import Cache, Project
from builder.foundation.progress import Quiet
from builder.foundation.workbench import Workbench
from builder.steps.profiles import load_buildable
from builder.steps.report import gather, page
from builder.verbs.plan import image_components
from builder.verbs.report import refresh_report, write_report
from tests.conftest import CLASSROOM, REPOSITORY
from tests.report import sample


def words(image: Path) -> str:
    """The text of the report without tags, runs of white space as one."""
    text = page(gather(image))
    text = re.sub(r"<(style|script)\b.*?</\1>", " ", text, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())


def beside(image: Path, name: str) -> Path:
    """A file that a test run or a verification of the image left."""
    results = image.with_name(f"{image.name}.test")
    places = {TESTS: results / TESTS, BOOT: results / "artifacts" / BOOT, PORTS: results / "artifacts" / PORTS}
    return places.get(name, image.with_name(f"{image.name}.verify.json"))


def verified(image: Path, **changes: object) -> None:
    changed = sample.VERIFIED.model_copy(update=changes)
    beside(image, "verify").write_text(Verification.model_validate(changed.model_dump()).text())


def test_everything_that_is_known_is_told(folder: Path) -> None:
    said = words(sample.write_all(folder))
    for expected in (
        "meadow amd64",
        "2023-11-14 22:13:20 UTC",
        sample.LOCK,
        "names anna, ben open yes port 443 title Hello",
        "mkosi 27.1-1",
        f"image.raw 512.0 MiB {sample.sha('raw')}",
        "16.0 MiB in 7 files",
        "numpy wheel 2 10.0 MiB",
        "/var/lib/dpkg build 1 1.0 MiB",
        "libssl.so.3 /opt/ai/lib/libssl.so.3 /usr/lib/libssl.so.3 deb:libssl3, wheel:numpy 2.0 MiB",
        "up after 20.00 s , with its processor emulated in software",
        "initrd 2.00 s",
        "slow.service 6.00 s 9.00 s",
        "`-slow.service @6.0s +9.0s",
        "4 tests in 4 s: 1 passed, 2 failed, 1 skipped",
        "overlays.web::test_broken no fixture",
        "overlays.web::test_left no browser",
        "22 tcp 0.0.0.0 sshd 443 tcp :: node Inside the machine only",
        "53 udp 127.0.0.53%lo systemd-resolve",
        "9999 udp ::1 kernel",
        "2 of 2 identical",
        "2 identical 62 s clock +2 weeks umask 0077",
        "libssl3 3.5.1-1+deb13u1 deb openssl 120.6 KiB",
        "numpy 2.2.4 wheel 4.5 KiB",
    ):
        assert expected in said, expected
    assert "sysinit.target" not in said, "a unit that took no time is in no chart"


def test_boot_chart_begins_with_its_first_unit(folder: Path) -> None:
    """From 3.5 s to 15 s: the second of two units begins at 6 s and ends the chart."""
    text = page(gather(sample.write_all(folder)))
    assert "3.50 s to 15.00 s" in text
    assert '<rect x="0.00" width="36.96" height="1"/>' in text
    assert '<rect x="21.74" width="78.26" height="1"/>' in text


def test_what_nobody_found_out_yet_is_said(folder: Path) -> None:
    said = words(sample.write_manifest(folder))
    for expected in (
        "Tests not tested yet",
        "Reproducible not verified yet",
        "Checksums not signed",
        "No list of files yet",
        "No boot was recorded yet",
        "Not tested yet: lichen test",
        "Not recorded yet: lichen test",
        "Not verified yet: lichen verify",
        "From the manifest, which knows no licences",
    ):
        assert expected in said, expected
    assert "nano 1.0-1 deb nano" in said


def test_machine_that_did_not_boot_is_told(folder: Path) -> None:
    image = sample.write_all(folder)
    beside(image, TESTS).unlink()
    said = words(image)
    assert "Tests broken off" in said
    assert "The last run ended before its tests did." in said


def test_empty_image_has_a_report(folder: Path) -> None:
    nothing: dict[str, object] = {
        "packages": (),
        "wheels": (),
        "overlays": (),
        "options": {},
        "tools": {},
        "artefacts": {},
    }
    image = sample.write_all(folder, sample.MANIFEST.model_copy(update=nothing))
    (image / CONTENTS).write_text("")
    beside(image, TESTS).write_text("<testsuites/>")
    beside(image, PORTS).write_text("[]")
    verified(image, rebuilds=())
    said = words(image)
    assert "Files of the image 0 Bytes in 0 files" in said
    assert "Tests none passed" in said
    assert "No socket is reached from other machines." in said
    assert "Reproducible not verified yet" in said


def test_differences_are_told_with_their_cause(folder: Path) -> None:
    image = sample.write_all(folder)
    verified(image, rebuilds=(sample.rebuild(1), sample.rebuild(2, sample.CLOCK)))
    said = words(image)
    assert "Reproducible 1 of 2 identical" in said
    assert "What differs in build 2 image.raw / root / /etc/date : content; looks like clock -2026 +2027" in said


def test_verification_of_another_lock_proves_nothing(folder: Path) -> None:
    image = sample.write_all(folder)
    verified(image, lock="99" * 32)
    said = words(image)
    assert "Reproducible verified for another lock" in said
    assert "This result is of another lock, 999999999999" in said


def test_licences_come_from_the_bill_of_materials(folder: Path) -> None:
    image = sample.write_manifest(folder)
    nano = sample.MANIFEST.packages[1]
    (image / "sbom.spdx.json").write_text(
        sample.spdx(
            {"SPDXID": "SPDXRef-image", "name": "meadow", "versionInfo": "abababababab"},
            {
                "SPDXID": "SPDXRef-deb-nano",
                "name": "nano",
                "versionInfo": "1.0-1",
                "licenseConcluded": "NOASSERTION",
                "licenseDeclared": "GPL-3.0-or-later",
                "checksums": [{"algorithm": "SHA256", "checksumValue": nano.sha256}],
            },
            {"SPDXID": "SPDXRef-model-digits", "name": "digits", "versionInfo": "1", "licenseDeclared": "CC0-1.0"},
        )
    )
    said = words(image)
    assert "nano 1.0-1 deb nano GPL-3.0-or-later 120.6 KiB" in said
    assert "digits 1 model CC0-1.0" in said
    assert "knows no licences" not in said
    assert "Inside 1 packages, 0 wheels, 1 models" in said, "the image is no part of itself"


def test_package_of_a_repository_without_a_pool_is_its_own_source(folder: Path) -> None:
    flat = sample.MANIFEST.packages[1].model_copy(update={"path": "nano_1.0-1_amd64.deb"})
    said = words(sample.write_all(folder, sample.MANIFEST.model_copy(update={"packages": (flat,)})))
    assert "nano 1.0-1 deb nano" in said


def test_signature_is_told(folder: Path) -> None:
    image = sample.write_all(folder)
    (image / "SHA256SUMS.sig").write_text("signature")
    assert "Checksums signed" in words(image)


def test_large_image_stays_a_small_page(folder: Path) -> None:
    """A hundred thousand files of a thousand packages; each owner's largest ones are in the map."""
    image = sample.write_all(folder)
    with (image / CONTENTS).open("w") as stream:
        for number in range(100_000):
            size = 70_000 + number % 977
            path = f"/usr/lib/package{number % 1000}/file{number}"
            stream.write(sample.entry(path, size, f"deb:package{number % 1000}", "same").line())
    text = page(gather(image))
    assert len(text) < 2 << 20
    assert "84 smaller files" in text
    assert "953 others" in text
    assert "100,000 files" in text


def test_same_inputs_give_the_same_bytes(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = write_report(sample.write_all(folder)).read_bytes()
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("TZ", "<+09>-9")
        elsewhere.setenv("LC_ALL", "C")
        time.tzset()
        second = write_report(sample.write_all(tmp_path / "elsewhere")).read_bytes()
    time.tzset()
    assert first == second
    assert first.isascii()


DAMAGED = {
    TESTS: ("<testsuites><testcase", "the test results cannot be read"),
    BOOT: ('{"firmware": "long"}', "the times of the last boot cannot be read"),
    PORTS: ('[{"protocol": "tcp", "address": "nowhere", "port": 1, "process": ""}]', "the list of open ports cannot"),
    "verify": ("[]", "the result of a verification cannot be read"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_file_is_named(folder: Path, name: str) -> None:
    image = sample.write_all(folder)
    content, what = DAMAGED[name]
    beside(image, name).write_text(content)
    with pytest.raises(InputError) as caught:
        gather(image)
    (problem,) = caught.value.problems
    assert what in problem.what
    assert problem.where == str(beside(image, name))
    assert problem.why
    assert "run `lichen" in problem.remedy


def test_all_damaged_files_are_named_together(folder: Path) -> None:
    image = sample.write_all(folder)
    for name in DAMAGED:
        beside(image, name).write_bytes(b"\xff\xfe")
    (image / CONTENTS).write_text("{}\n")
    (image / "sbom.spdx.json").write_text('{"packages": [{"versionInfo": "1"}]}')
    with pytest.raises(InputError) as caught:
        gather(image)
    assert len(caught.value.problems) == len(DAMAGED) + 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"packages": 3}',
        '{"packages": [7]}',
        '{"packages": [{"name": "a", "SPDXID": "b", "checksums": [{}]}]}',
    ],
)
def test_damaged_bill_of_materials_is_named(folder: Path, text: str) -> None:
    image = sample.write_manifest(folder)
    (image / "sbom.spdx.json").write_text(text)
    with pytest.raises(InputError, match="the bill of materials cannot be read"):
        gather(image)


def test_folder_that_is_no_image_is_refused(folder: Path) -> None:
    folder.mkdir()
    with pytest.raises(InputError, match="not a complete image folder"):
        write_report(folder)
    assert not folder.with_name("out.report.html").exists()


def test_damage_keeps_the_earlier_report(folder: Path) -> None:
    """A build, a test or a verification goes on without a new report, and says so."""

    class Notes(Quiet):
        said: tuple[str, ...] = ()

        def note(self, text: str) -> None:
            self.said += (text,)

    notes = Notes()
    bench = Workbench(Project(folder), Cache(folder / "cache"), progress=notes)
    image = sample.write_all(folder)
    refresh_report(bench, image)
    path = folder / f"{image.name}.report.html"
    before = path.read_bytes()
    beside(image, BOOT).write_text("{")
    refresh_report(bench, image)
    assert path.read_bytes() == before
    assert len(notes.said) == 1
    assert "no new report: the times of the last boot cannot be read" in notes.said[0]


def test_command_writes_the_report_of_the_built_image(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "project"
    root.mkdir()
    for part in ("profiles", "overlays", "kernel-configs"):
        (root / part).symlink_to(REPOSITORY.root / part)
    lock = read_lock(REPOSITORY.lock(CLASSROOM, "amd64"))
    *_, component = image_components(load_buildable(REPOSITORY, CLASSROOM), lock)
    options = ("--project", str(root), "--cache", str(tmp_path / "cache"))
    assert run([*options, "report", CLASSROOM]) == 2
    assert "the image is not built" in capfd.readouterr().err
    image = Project(root).image(CLASSROOM, "amd64", lock.digest)
    image.mkdir(parents=True)
    manifest = sample.MANIFEST.model_copy(
        update={"profile": CLASSROOM, "lock": lock.digest, "image": component.key, "artefacts": {}}
    )
    (image / "manifest.json").write_text(manifest.text())
    (image / "SHA256SUMS").write_text(f"{digest_bytes(manifest.text().encode())}  manifest.json\n")
    assert run([*options, "report", CLASSROOM]) == 0
    path = image.with_name(f"{image.name}.report.html")
    assert capfd.readouterr().out == f"{path}\n"
    assert f"<h1>{CLASSROOM} " in path.read_text()
    assert run([*options, "report", CLASSROOM, "--json"]) == 0
    assert str(path) in capfd.readouterr().out


def test_artefacts_are_listed_by_name(folder: Path) -> None:
    artefacts = {name: Artefact(size=1, sha256=sample.sha(name)) for name in ("b", "a")}
    said = words(sample.write_manifest(folder, sample.MANIFEST.model_copy(update={"artefacts": artefacts})))
    assert said.index(sample.sha("a")) < said.index(sample.sha("b"))
