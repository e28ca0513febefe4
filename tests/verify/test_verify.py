"""``lichen verify`` with real builds of the small image."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from builder.cli.main import INTERRUPTED
from builder.data.variation import Variation, variations
from builder.data.verification import read_verification
from builder.foundation.digest import digest_file
from builder.foundation.errors import EXIT_BAD_INPUT, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_NOT_REPRODUCIBLE
from builder.foundation.place import Cache, Project
from builder.foundation.store import Store
from builder.steps.elsewhere import Host, lay_out, possible
from builder.verbs import verify as verb
from tests.build.bench import REPOSITORY, Bench, lend, processes_at, swap, wait_until
from tests.build.conftest import Built, MakeBench
from tests.cli.conftest import Lichen
from tests.verify.test_variations import ASPECTS


def with_image(made: Bench, built: Built) -> Bench:
    """``made`` with the small image, built already."""
    copy_image(built.image.folder, made.image)
    return made


def copy_image(source: Path, destination: Path) -> Path:
    destination.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "--archive", "--sparse=always", source, destination], check=True)
    return destination


def arguments(made: Bench, *more: str) -> list[str]:
    return ["verify", "small", "--project", str(made.project.root), "--cache", str(made.cache.root), *more]


def left(made: Bench) -> list[str]:
    """What is there besides the image."""
    report = made.image.with_name(f"{made.image.name}.report.html")
    names = [path.name for path in made.project.images.iterdir() if path not in (made.image, report)]
    return [*made.leftovers(), *names, *(path.name for path in made.cache.workspace.glob("*"))]


def test_identical_with_everything_varied(bench: MakeBench, built: Built, cache: Cache, lichen: Lichen) -> None:
    """Built with all components of its own, tools tree included."""
    made = with_image(bench(), built)
    stale = made.image.with_name(f"{made.image.name}.differs")
    stale.mkdir()
    said = lichen(*arguments(made, "--seed", "1", "--json"))
    assert said.code == 0, said
    assert said.err.startswith("seed 1\n")
    for step in ("tools", "base", "initrd", "image", "comparison"):
        assert f"[verify] build 1 of 1: {step} … " in said.err
    assert said.err.count("build 1 of 1: workspace on disk, as asked\n") == 4
    (rebuild,) = said.json["rebuilds"]
    (variation,) = variations(1, 1)
    told = possible(variation).conditions()
    clock = rebuild["conditions"].pop("clock")
    assert rebuild["conditions"] == told
    assert set(told) == ASPECTS
    days = variation.circumstances.clock / 86400
    assert clock.startswith(f"{days:+.1f} days for apt, dpkg, packages' and finalize scripts")
    assert {"image.raw", "image.efi", "manifest.json", "SHA256SUMS"} <= {item["name"] for item in rebuild["compared"]}
    assert rebuild["differences"] == []
    record = made.image.with_name(f"{made.image.name}.verify.json")
    assert (said.json["identical"], said.json["record"], said.json["kept"]) == (True, str(record), None)
    found = read_verification(record)
    assert (found.identical, found.seed, found.lock) == (True, 1, made.lock.digest)
    assert left(made) == [record.name]
    # Nor did it change what it was made from.
    store = Store(cache.store)
    for deb in made.lock.debs:
        assert store.verified(deb.sha256, deb.size)


@pytest.mark.long
def test_planted_differences(
    bench: MakeBench, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lichen: Lichen
) -> None:
    """A package of ours that lets host and clock into the image is found out. Only the image is built anew."""
    shutil.copytree(REPOSITORY / "builder", tmp_path / "planted/builder")
    script = tmp_path / "planted/builder/templates/image/image.finalize.j2"
    script.write_text(script.read_text() + "uname -n > etc/where\ndate +%s > etc/when\n")
    monkeypatch.setattr("builder.steps.render._templates", lambda: script.parents[1])
    monkeypatch.setattr("builder.steps.elsewhere._PACKAGE", tmp_path / "planted")

    def with_components(variation: Variation, *places: Path | Project | Cache | Mapping[str, int]) -> Host:
        host: Host = lay_out(variation.model_copy(update={"directories": None}), *places)  # type: ignore[arg-type]
        host.cache.components.mkdir()
        for name in ("mkosi", "tools", "base", "initrd"):
            lend(host.cache, cache, name)
        return host

    monkeypatch.setattr(verb, "lay_out", with_components)
    made = bench()
    said = lichen(*arguments(made))
    assert said.code == EXIT_NOT_REPRODUCIBLE, said
    assert "error" not in said.err
    assert "image.raw" in said.out
    assert f"0 of 1 identical with {made.image}" in said.out
    kept = made.image.with_name(f"{made.image.name}.differs")
    record = made.image.with_name(f"{made.image.name}.verify.json")
    assert f"the first that differs is kept in {kept}" in said.err
    assert sorted(left(made)) == sorted([kept.name, record.name])
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=kept, check=True)
    (rebuild,) = read_verification(record).rebuilds
    assert {"image.raw", "manifest.json"} <= {item.name for item in rebuild.compared if not item.identical}
    assert "image.efi" in {item.name for item in rebuild.compared if item.identical}
    assert "image.raw" in {item.artefact for item in rebuild.differences}


@pytest.mark.long
def test_build_that_fails_elsewhere(
    bench: MakeBench, built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lichen: Lichen
) -> None:
    shutil.copytree(REPOSITORY / "builder", tmp_path / "planted/builder")
    configuration = tmp_path / "planted/builder/templates/tools/mkosi.conf.j2"
    configuration.write_text(configuration.read_text() + "    no-such-package\n")
    monkeypatch.setattr("builder.steps.elsewhere._PACKAGE", tmp_path / "planted")
    made = with_image(bench(), built)
    said = lichen(*arguments(made))
    assert said.code == EXIT_FAILED
    log = made.image.with_name(f"{made.image.name}.verify.log")
    assert "the build fails on another host" in said.err
    assert "mkosi failed to build tools" in said.err
    assert str(log) in said.err
    assert "no-such-package" in log.read_text()
    assert left(made) == [log.name]


@pytest.mark.long
def test_killed_and_interrupted(bench: MakeBench, built: Built, tmp_path: Path) -> None:
    made = with_image(bench(), built)
    told: list[str] = []
    for number in (signal.SIGKILL, signal.SIGINT, signal.SIGTERM):
        process = subprocess.Popen(
            [sys.executable, "-m", "builder.cli.main", *arguments(made, "--seed", "1")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )
        wait_until(lambda: unpacking(made), process)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
        told.append(err)
        wait_until(lambda: not processes_at(tmp_path))
        if number == signal.SIGKILL:
            assert process.returncode == -signal.SIGKILL
            (run,) = made.cache.workspace.glob("run-*")
            for log in run.glob(f"{variations(1, 1)[0].path}/project/out/*.log"):
                log.unlink()
        else:
            assert process.returncode == EXIT_INTERRUPTED
            assert err.splitlines()[-1] == INTERRUPTED
            # What the killed one left is gone too.
            assert left(made) == []
        assert str(tmp_path) not in Path("/proc/self/mounts").read_text()
        # The kernel writes back and lets go of a disk after the last process has ended.
        wait_until(lambda: str(tmp_path) not in loops())
    assert not any("Traceback" in err for err in told)


def loops() -> str:
    return subprocess.run(["losetup", "--list"], capture_output=True, check=True, text=True).stdout


def unpacking(made: Bench) -> bool:
    logs = made.cache.workspace.glob(f"run-*/{variations(1, 1)[0].path}/project/out/*.log")
    return any("Unpacking" in log.read_text(errors="replace") for log in logs)


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def test_against_what_somebody_published(bench: MakeBench, built: Built, tmp_path: Path, lichen: Lichen) -> None:
    made = with_image(bench(), built)
    published = copy_image(built.image.folder, tmp_path / "published")
    record = made.image.with_name(f"{made.image.name}.against.json")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(published)))
    Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        for place in (str(published), address):
            said = lichen(*arguments(made, "--against", place))
            assert said.code == 0, said
            assert f"1 of 1 identical with {made.image}" in said.out
            found = read_verification(record)
            assert (found.against, found.seed, found.identical) == (place, None, True)
            assert left(made) == [record.name]

        (published / "image.efi").rename(published / "elsewhere")
        assert_refused(lichen(*arguments(made, "--against", address)), EXIT_FAILED, "cannot be had", "HTTP 404")
        (published / "elsewhere").rename(published / "image.efi")
    finally:
        server.shutdown()
        server.server_close()

    with (published / "image.raw").open("r+b") as disk:
        disk.seek(600 << 20)
        disk.write(b"another byte")
    changed = lichen(*arguments(made, "--against", str(published)))
    assert_refused(changed, EXIT_FAILED, "has other bytes", "SHA256SUMS says")

    # Somebody who publishes a changed image with checksums that fit is found out by comparing.
    old = built.image.manifest.artefacts["image.raw"].sha256
    new = digest_file(published / "image.raw")
    swap(published / "manifest.json", old, new)
    swap(published / "SHA256SUMS", old, new)
    swap(published / "SHA256SUMS", r"[0-9a-f]+(?=  manifest)", digest_file(published / "manifest.json"))
    said = lichen(*arguments(made, "--against", str(published)))
    assert said.code == EXIT_NOT_REPRODUCIBLE, said
    assert "image.raw" in said.out
    assert "0 of 1 identical" in said.out
    assert published.is_dir()

    motd = made.project.overlays / "base-system/tree/etc/issue"
    motd.parent.mkdir(parents=True, exist_ok=True)
    motd.write_text("changed\n")
    made.relock()
    other = lichen(*arguments(made, "--against", str(published)))
    assert_refused(other, EXIT_BAD_INPUT, "the published image was built from another lock", "check out the commit")


def assert_refused(said: object, code: int, *words: str) -> None:
    found = (getattr(said, "code", None), getattr(said, "err", ""))
    assert found[0] == code, found
    for word in words:
        assert word in found[1]


def test_options_that_exclude_one_another(lichen: Lichen) -> None:
    for more in (["--seed", "1"], ["--variations", "2"]):
        said = lichen("verify", "small", "--against", "somewhere", *more)
        assert_refused(said, EXIT_BAD_INPUT, "--against builds on no other hosts")
    for more in (["--seed", "-1"], ["--variations", "0"]):
        assert lichen("verify", "small", *more).code == EXIT_BAD_INPUT
