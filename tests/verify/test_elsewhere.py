"""A host that looks different, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from builder.data.variation import Variation, variations
from builder.foundation.digest import digest_bytes
from builder.foundation.errors import LichenError
from builder.foundation.place import Cache, Project
from builder.foundation.process import Runner, among_themselves
from builder.foundation.store import Store
from builder.steps.elsewhere import Host, lay_out, possible, run
from tests.build.bench import REPOSITORY, processes_at, wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and mounts need root")
(EVERYTHING,) = variations(5, 1)


@pytest.fixture
def world(tmp_path: Path) -> tuple[Project, Cache, dict[str, int]]:
    """A project of forty files and a store with one object."""
    for name in range(20):
        path = tmp_path / "project/overlays/one/tree" / f"file-{name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(name))
    path.chmod(0o755)
    (path.parent / "link").symlink_to("file-1")
    (tmp_path / "project/profiles").mkdir()
    (tmp_path / "project/out").mkdir()
    cache = Cache(tmp_path / "machine")
    for content in (b"locked", b"of another profile"):
        file = tmp_path / "file"
        file.write_bytes(content)
        Store(cache.store).insert(file, digest_bytes(content))
    return Project(tmp_path / "project"), cache, {digest_bytes(b"locked"): 6}


World = tuple[Project, Cache, dict[str, int]]


def seen(host: Host) -> Mapping[str, Any]:
    lines: list[str] = []
    run(host, Runner(), "tests.verify.look", [], lines.append)
    return dict(json.loads(lines[0]))


def test_everything_differs(world: World, tmp_path: Path) -> None:
    before, mounts = socket.gethostname(), Path("/proc/self/mounts").read_text()
    variation = possible(EVERYTHING)
    host = lay_out(variation, tmp_path / "scratch", *world)
    found = seen(host)
    assert found["folder"] == str(host.home)
    assert " " in found["folder"]
    assert len(found["folder"]) > 100
    assert (found["user"], found["root"]) == (variation.user, 0)
    assert (found["home"], found["host"]) == (str(host.home), variation.host)
    assert found["umask"] == f"{variation.umask:04o}"
    assert found["locale"] == variation.locale
    assert found["zone"] in ("+1245", "+1400", "+0545")
    assert (found["processors"], found["interfaces"]) == (1, ["lo"])
    assert {*variation.noise} <= {*found["environment"].items()}
    assert "LICHEN_CACHE" not in found["environment"]
    if variation.directories is None:
        pytest.skip("no loop devices here: the rest needs a file system of its own")
    assert found["file system"] != Path(tmp_path).stat().st_dev
    # All that is left are files below the scratch folder.
    assert socket.gethostname() == before
    assert Path("/proc/self/mounts").read_text() == mounts
    assert processes_at(tmp_path) == []
    shutil.rmtree(tmp_path / "scratch")


def test_nothing_differs(world: World, tmp_path: Path) -> None:
    found = seen(lay_out(Variation(), tmp_path / "scratch", *world))
    assert found["host"] == socket.gethostname()
    assert found["user"] == "root"
    assert found["processors"] == len(os.sched_getaffinity(0))
    # There is no network in any case.
    assert found["interfaces"] == ["lo"]


def test_only_what_the_lock_names(world: World, tmp_path: Path) -> None:
    host = lay_out(EVERYTHING, tmp_path / "scratch", *world)
    assert [entry.sha256 for entry in Store(host.cache.store).objects()] == [digest_bytes(b"locked")]
    assert sorted(path.name for path in host.project.root.iterdir()) == ["overlays", "profiles"]
    tree = host.project.overlays / "one/tree"
    assert (tree / "link").readlink() == Path("file-1")
    assert EVERYTHING.umask is not None
    assert (tree / "file-19").stat().st_mode & 0o777 == 0o777 & ~EVERYTHING.umask
    assert (tree / "file-18").stat().st_mode & 0o777 == 0o666 & ~EVERYTHING.umask
    project, cache, files = world
    with pytest.raises(LichenError, match="not in the store"):
        lay_out(Variation(), tmp_path / "other", project, cache, {**files, "0" * 64: 1})


def test_keys_of_repositories_come_along(world: World, tmp_path: Path) -> None:
    project, cache, files = world
    (project.root / "keys").mkdir()
    for name in ("vendor.asc", "other.asc"):
        (project.root / "keys" / name).write_text(name)
    host = lay_out(EVERYTHING, tmp_path / "scratch", project, cache, files, ["keys/vendor.asc"])
    assert [path.name for path in (host.project.root / "keys").iterdir()] == ["vendor.asc"]


def test_order_of_making(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[str] = []
    real = shutil.copyfile

    def noting(source: Path, target: Path) -> Path:
        copied.append(source.name)
        return real(source, target)

    monkeypatch.setattr(shutil, "copyfile", noting)

    def made(name: str, shuffle: int | None) -> list[str]:
        copied.clear()
        lay_out(Variation(shuffle=shuffle), tmp_path / name, *world)
        return list(copied)

    assert made("a", None) == sorted(made("a2", None))
    assert made("b", 1) == made("b2", 1)
    assert made("b3", 1) != made("c", 2)


def test_failure_is_told(world: World, tmp_path: Path) -> None:
    host = lay_out(possible(EVERYTHING), tmp_path / "scratch", *world)
    with pytest.raises(LichenError) as caught:
        run(host, Runner(), "tests.verify.nothing", [], print)
    (problem,) = caught.value.problems
    assert problem.what == "tests.verify.nothing ended with exit code 1 on another host"
    assert "No module named tests.verify.nothing" in problem.why


# Stands in for an unshare that is killed as soon as it has forked.
GONE = """#!/bin/sh
export PATH="${PATH#*:}"
(sleep 0.5; exec unshare "$@") < /dev/null &
"""


def test_nothing_begins_when_whoever_started_it_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = tmp_path / "begun"
    command = among_themselves(["--mount"], ["touch", str(begun)])
    Runner().run(command)
    begun.unlink()
    (tmp_path / "unshare").write_text(GONE)
    (tmp_path / "unshare").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    Runner().run(command)  # waits for the end of the output, which all of them share
    assert not begun.exists()


WAITING = """
import sys
from pathlib import Path
from builder.data.variation import Variation
from builder.foundation.process import Runner
from builder.steps.elsewhere import Host, run

host = Host(Variation.model_validate_json(sys.argv[1]), Path(sys.argv[2]))
run(host, Runner(), "http.server", ["--bind", "127.0.0.1", "0"], print)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_ends_with_whoever_started_it(world: World, tmp_path: Path, number: signal.Signals) -> None:
    host = lay_out(possible(EVERYTHING), tmp_path / "scratch", *world)
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING, host.variation.model_dump_json(), host.root],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        text=True,
    )
    wait_until(lambda: any("http.server --bind" in told for told in processes_at(tmp_path)), process)
    process.send_signal(number)
    process.wait(60)
    wait_until(lambda: not processes_at(tmp_path))
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()
