"""Locking that is interrupted, killed, or done by several at once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from builder.foundation.errors import LichenError
from builder.foundation.process import Completed, ProcessError, Runner
from builder.foundation.workbench import Workbench
from builder.steps import apt
from builder.verbs.lock import lock
from tests.lock.world import World
from tests.store import mirror as faulty

SPAWN = multiprocessing.get_context("spawn")  # the parent has threads: forking it is not safe
OLD = "the lock from before\n"
MOMENTS = {"apt": "/debian/dists/trixie/InRelease", "uv": "/simple/pages/"}


def child(root: Path, mirrors: tuple[str, ...], indices: tuple[str, ...], keyring: Path, scratch: Path) -> None:
    """Lock in a process of its own, patiently; 130 when interrupted."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    apt.KEYRINGS, apt.TIMEOUT_SECONDS = (keyring,), 60
    tempfile.tempdir = str(scratch)
    from builder.foundation.place import Cache, Project

    try:
        lock(Workbench(Project(root), Cache(root / "cache"), mirrors=mirrors, indices=indices), "small")
    except KeyboardInterrupt:
        sys.exit(130)


def started(world: World) -> BaseProcess:
    bench = world.bench()
    arguments = (world.sample.root, bench.mirrors, bench.indices, world.key.keyring, world.scratch)
    process = SPAWN.Process(target=child, args=arguments)
    process.start()
    return process


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "waited for a minute"
        time.sleep(0.02)


def tools_of(world: World) -> list[str]:
    """Processes, apt's methods and uv, that work for this project."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes() + (folder / "cmdline").read_bytes()
            if str(world.sample.root).encode() in environment and int(folder.name) != os.getpid():
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def ended(world: World, moment: str, number: signal.Signals) -> BaseProcess:
    """A locking that got a signal while a mirror or an index kept it waiting."""
    world.mirror.faults[MOMENTS[moment]] = [faulty.silent] * 9
    world.sample.project.locks.mkdir()
    world.path.write_text(OLD)
    process = started(world)
    wait_until(lambda: any(request.path == MOMENTS[moment] for request in world.mirror.requests))
    assert process.pid is not None
    os.kill(process.pid, number)
    process.join(50)  # less than the silence lasts
    return process


@pytest.mark.parametrize("moment", ["apt", "uv"])
def test_interrupted(world: World, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    monkeypatch.setenv("UV_HTTP_TIMEOUT", "60")
    process = ended(world, moment, signal.SIGINT)
    assert process.exitcode == 130
    assert world.left() == ["small.amd64.json"]
    assert world.path.read_text() == OLD
    assert tools_of(world) == []
    world.mirror.gate.set()
    assert world.mended().profile == "small"


@pytest.mark.parametrize("moment", ["apt", "uv"])
def test_killed(world: World, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    """Only a private folder is left, which nobody takes for anything."""
    monkeypatch.setenv("UV_HTTP_TIMEOUT", "5")
    process = ended(world, moment, signal.SIGKILL)
    assert process.exitcode == -signal.SIGKILL
    assert world.path.read_text() == OLD
    assert [path.name for path in world.sample.project.locks.iterdir()] == ["small.amd64.json"]
    world.mirror.gate.set()
    wait_until(lambda: tools_of(world) == [])
    assert world.mended().profile == "small"


def test_killed_while_writing_leaves_the_old_lock(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.without_wheels()
    world.sample.project.locks.mkdir()
    world.path.write_text(OLD)

    def interrupted(_descriptor: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("builder.foundation.atomic.os.fsync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            world.lock()
    assert world.left() == ["small.amd64.json"]
    assert world.path.read_text() == OLD
    world.mended()


@pytest.mark.parametrize("tool", ["apt-get", "uv"])
def test_killed_tool_is_no_bad_input(world: World, monkeypatch: pytest.MonkeyPatch, tool: str) -> None:
    """A machine short of memory may kill it: nothing is wrong with the packages or requirements then."""
    run = Runner.run

    def killed(self: Runner, argv: Sequence[str | Path], **kept: Any) -> Completed:
        asked = Path(argv[0]).name == tool and ("install" in argv or "compile" in argv)
        return run(self, ["sh", "-c", "kill -KILL $$"] if asked else argv, **kept)

    with monkeypatch.context() as patch:
        patch.setattr(Runner, "run", killed)
        with pytest.raises(LichenError) as caught:
            world.lock()
    assert type(caught.value) is ProcessError
    assert caught.value.problems[0].what == "sh was ended by signal 9"
    world.mended()


def test_two_at_once_write_the_same_lock(world: World) -> None:
    processes = [started(world), started(world)]
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert world.left() == ["small.amd64.json"]
    assert not world.lock(upgrade=True).changed


@pytest.fixture
def small_cache(world: World) -> Iterator[None]:
    """The world's cache on a file system of 16 KiB, less than the indices take."""
    world.cache.root.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(world.cache.root)]
    mounted = subprocess.run(mount, check=False, capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"mounting is not allowed here: {mounted.stderr.strip()}")
    yield
    subprocess.run(["umount", world.cache.root], check=True)


@pytest.mark.usefixtures("small_cache")
def test_disk_full(world: World) -> None:
    world.without_wheels()
    [problem] = world.fails(LichenError)
    assert (problem.what, problem.where) == ("the disk is full", str(world.cache.apt))
    assert "`lichen clean`" in problem.remedy
    subprocess.run(["mount", "-o", "remount,size=64m", world.cache.root], check=True)
    world.mended()


def test_cache_that_cannot_be_written(world: World) -> None:
    world.cache.root.write_text("a file where the folder should be")
    [problem] = world.fails(LichenError)
    assert problem.what == "cannot write"
    assert problem.where.startswith(str(world.cache.root))
    world.cache.root.unlink()
    world.mended()
