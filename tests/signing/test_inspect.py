"""`lichen inspect`: a whole folder passes, every kind of damage is told, all at once."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.foundation.digest import digest_file
from builder.foundation.errors import EXIT_BAD_INPUT, EXIT_FAILED, InputError
from builder.verbs.inspect import inspect_image
from builder.verbs.sign import sign
from tests.cli.conftest import Lichen
from tests.sbom.madeup import MadeImage
from tests.signing.conftest import Keys, make_keys


def told(folder: Path, key: Path | None = None) -> list[str]:
    """What is wrong, and the file that it is wrong with."""
    return [f"{problem.what}: {Path(problem.where).name}" for problem in inspect_image(folder, key).problems]


def test_whole_folder(made: MadeImage, keys: Keys) -> None:
    found = inspect_image(made.folder)
    assert found.problems == ()
    assert found.signature.state == "unsigned"
    assert found.manifest == made.manifest
    assert (found.licences, found.unlicensed) == (3, 6)  # of two debs, one wheel and Lichen; overlays, model, tools
    sign(made.workbench, "small", key=keys.private)
    assert inspect_image(made.folder).signature.state == "untrusted"
    assert inspect_image(made.folder).problems == ()
    assert inspect_image(made.folder, keys.public).signature.state == "good"
    assert inspect_image(made.folder, keys.public).problems == ()


def flip(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)


def relist(folder: Path) -> None:
    """Checksums as somebody would write them who changed a file and wants nobody to notice."""
    names = [line.split()[1] for line in (folder / "SHA256SUMS").read_text().splitlines()]
    (folder / "SHA256SUMS").write_text("".join(f"{digest_file(folder / name)}  {name}\n" for name in names))


@pytest.mark.parametrize("name", ["image.raw", "image.efi", "contents.jsonl", "sbom.cdx.json", "provenance.json"])
def test_changed_byte(made: MadeImage, name: str) -> None:
    flip(made.folder, name)
    assert f"a file was changed: {name}" in told(made.folder)


def test_everything_at_once(made: MadeImage) -> None:
    flip(made.folder, "image.raw")
    (made.folder / "image.efi").unlink()
    (made.folder / "contents.jsonl").write_text("")
    (made.folder / "extra.sh").touch()
    os.truncate(made.folder / "sbom.spdx.json", 1000)
    assert told(made.folder) == [
        "a file was changed: contents.jsonl",
        "a file is missing: image.efi",
        "a file was changed: image.raw",
        "a file was changed: sbom.spdx.json",
        "a file is not listed: extra.sh",
        "the bill of materials cannot be read: sbom.spdx.json",
    ]


def test_checksums_written_anew_do_not_hide_a_change(made: MadeImage, keys: Keys) -> None:
    sign(made.workbench, "small", key=keys.private)
    flip(made.folder, "image.raw")
    relist(made.folder)
    assert told(made.folder) == [
        "the manifest tells of another image.raw: manifest.json",
        "the provenance is of another image.raw: provenance.json",
    ]
    assert told(made.folder, keys.public)[-1] == "the signature is not by this key: SHA256SUMS.sig"


def test_manifest_and_bills_disagree(made: MadeImage) -> None:
    path = made.folder / "sbom.spdx.json"
    path.write_text(path.read_text().replace("3" * 64, "5" * 64).replace("pkg:deb/debian/one@", "pkg:deb/debian/eno@"))
    found = told(made.folder)
    assert "a package is not in the bill of materials: sbom.spdx.json" in found
    assert "the bills of materials differ: sbom.cdx.json" in found


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("sbom.spdx.json", "{}", "the bill of materials is no SPDX document: sbom.spdx.json"),
        ("sbom.spdx.json", "[]", "the bill of materials cannot be read: sbom.spdx.json"),
        ("sbom.cdx.json", "[1]", "the bill of materials cannot be read: sbom.cdx.json"),
        ("sbom.cdx.json", "[" * 100_000, "the bill of materials cannot be read: sbom.cdx.json"),
        ("provenance.json", '{"subject": 3}', "the provenance cannot be read: provenance.json"),
        ("contents.jsonl", "{", "the image's list of files cannot be read: contents.jsonl"),
        ("manifest.json", "{}", "this is not a complete image folder: manifest.json"),
    ],
)
def test_damaged_papers(made: MadeImage, name: str, text: str, complaint: str) -> None:
    (made.folder / name).write_text(text)
    relist(made.folder)
    assert complaint in told(made.folder)


def test_provenance_of_another_lock(made: MadeImage) -> None:
    path = made.folder / "provenance.json"
    statement = json.loads(path.read_text())
    statement["predicate"]["buildDefinition"]["externalParameters"]["lock"] = "0" * 64
    path.write_text(json.dumps(statement))
    relist(made.folder)
    assert told(made.folder) == ["the provenance is of another lock: provenance.json"]


def test_what_is_no_file_is_not_read(made: MadeImage) -> None:
    disk = made.folder / "image.raw"
    for target in (None, "/dev/zero", "image.efi"):
        disk.unlink()
        os.mkfifo(disk) if target is None else disk.symlink_to(target)
        assert told(made.folder) == ["this is no regular file: image.raw"]


@pytest.mark.parametrize("line", ["x  image.raw", f"{'0' * 64}  ../../etc/passwd", f"{'0' * 64}  /dev/zero", "é"])
def test_damaged_checksums(made: MadeImage, line: str) -> None:
    with (made.folder / "SHA256SUMS").open("a") as stream:
        stream.write(f"{line}\n")
    with pytest.raises(InputError):
        inspect_image(made.folder)


def test_checksums_that_leave_something_out(made: MadeImage) -> None:
    path = made.folder / "SHA256SUMS"
    path.write_text("".join(line for line in path.read_text().splitlines(True) if "provenance" not in line))
    assert "SHA256SUMS does not list provenance.json: SHA256SUMS" in told(made.folder)
    assert "a file is not listed: provenance.json" in told(made.folder)


def drop_signature(folder: Path) -> None:
    (folder / "SHA256SUMS.sig").unlink()


def drop_envelope(folder: Path) -> None:
    (folder / "provenance.dsse.json").unlink()


def cut_signature(folder: Path) -> None:
    os.truncate(folder / "SHA256SUMS.sig", 63)


def spoil_envelope(folder: Path) -> None:
    (folder / "provenance.dsse.json").write_text('{"signatures": []}')


def other_payload(folder: Path) -> None:
    path = folder / "provenance.dsse.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "payload": "e30="}))


@pytest.mark.parametrize(
    ("damage", "complaints"),
    [
        (drop_signature, ["a signature is missing: SHA256SUMS.sig"]),
        (drop_envelope, ["a signature is missing: provenance.dsse.json"]),
        (cut_signature, ["the signature is not by this key: SHA256SUMS.sig"]),
        (spoil_envelope, ["this is no signed provenance: provenance.dsse.json"]),
        (
            other_payload,
            [
                "the signed provenance is another one: provenance.dsse.json",
                "the signature is not by this key: provenance.dsse.json",
            ],
        ),
    ],
)
def test_bad_signatures(made: MadeImage, keys: Keys, damage: Callable[[Path], None], complaints: list[str]) -> None:
    sign(made.workbench, "small", key=keys.private)
    damage(made.folder)
    assert told(made.folder, keys.public) == complaints
    assert inspect_image(made.folder, keys.public).signature.state == "bad"


def test_signature_of_another_key(made: MadeImage, keys: Keys, tmp_path: Path) -> None:
    other = make_keys(tmp_path / "other")
    assert told(made.folder, other.public) == [f"the image is not signed: {made.folder.name}"]
    sign(made.workbench, "small", key=keys.private)
    first, second = inspect_image(made.folder, other.public).problems
    assert (first.what, second.what) == ("the signature is not by this key",) * 2
    assert "given is the key" in first.why


def test_command(made: MadeImage, keys: Keys, lichen: Lichen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sign(made.workbench, "small", key=keys.private)
    # A folder that somebody downloaded; there is no project here.
    folder = tmp_path / "downloads" / "image"
    shutil.copytree(made.folder, folder)
    monkeypatch.chdir(folder.parent)
    said = lichen("inspect", "image", "--key", str(keys.public))
    assert (said.code, said.err) == (0, "")
    assert "by the key given" in said.out
    assert f"{made.lock.digest}, packages of " in said.out
    rows = {line.split()[0]: line.split()[1:] for line in said.out.splitlines()}
    assert (rows["packages"], rows["wheels"]) == (["2"], ["1"])
    document = lichen("inspect", str(folder), "--json").json
    assert document["signature"]["state"] == "untrusted"
    assert (document["problems"], document["profile"]) == ([], "small")
    flip(folder, "image.raw")
    (folder / "contents.jsonl").unlink()
    said = lichen("inspect", "./image")
    assert said.code == EXIT_FAILED
    assert "something is wrong" in said.out
    assert "3 problems" in said.err
    assert lichen("inspect", "./image", "--json").code == EXIT_FAILED
    for words in (["./nothing"], ["image", "--key", str(tmp_path / "none.pem")]):
        assert lichen("inspect", *words).code == EXIT_BAD_INPUT
    project = ("--project", str(made.workbench.project.root), "--cache", str(made.workbench.cache.root))
    assert lichen("inspect", "small", *project).code == 0
