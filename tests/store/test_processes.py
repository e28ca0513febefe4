"""Several processes, kills, interruptions and full disks."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from builder.data.lock import Deb
from builder.foundation.errors import LichenError
from builder.foundation.store import Store
from builder.foundation.transport import Limits
from builder.steps.fetch import Sources, fetch

from . import mirror as faulty
from .conftest import Recorder
from .mirror import Mirror

CONTENT = random.Random(2).randbytes(400_000)
SPAWN = multiprocessing.get_context("spawn")  # the parent has threads: forking it is not safe


class Printing(Recorder):
    def __init__(self, log: Path) -> None:
        super().__init__()
        self.log = log

    def note(self, text: str) -> None:
        self.log.write_text(text)


def child(root: Path, deb: Deb, url: str, log: Path) -> None:
    """Fetch in a process of its own; 130 when interrupted."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        fetch(Store(root), [deb], Sources({"debian": [url]}), Printing(log), Limits(silence=60))
    except KeyboardInterrupt:
        sys.exit(130)


def started(store: Store, deb: Deb, mirror: Mirror, log: Path) -> BaseProcess:
    process = SPAWN.Process(target=child, args=(store.root, deb, mirror.url, log))
    process.start()
    return process


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "waited for a minute"
        time.sleep(0.02)


def partial_size(store: Store, deb: Deb) -> int:
    path = store.root / "partial" / deb.sha256
    return path.stat().st_size if path.exists() else 0


def resume(store: Store, deb: Deb, mirror: Mirror) -> str:
    """Fetch again here, from a mirror that behaves; returns the Range it was asked for."""
    fetch(store, [deb], Sources({"debian": [mirror.url]}), Recorder())
    assert store.verified(deb.sha256, deb.size).read_bytes() == CONTENT
    assert list(store.partials()) == []
    return mirror.requests[-1].range


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_ended_download_is_resumed(
    store: Store, mirror: Mirror, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    deb = mirror.add(CONTENT)
    mirror.faults[f"/{deb.path}"] = [faulty.half_then_gate]
    process = started(store, deb, mirror, tmp_path / "log")
    wait_until(lambda: partial_size(store, deb) > 100_000)
    assert process.pid is not None
    os.kill(process.pid, number)
    process.join(60)
    assert process.exitcode == code
    left = partial_size(store, deb)
    assert 100_000 < left <= 200_000
    assert not store.has(deb.sha256, deb.size)
    assert resume(store, deb, mirror) == f"bytes={left}-"


def test_interrupted_while_a_mirror_is_silent(store: Store, mirror: Mirror, tmp_path: Path) -> None:
    deb = mirror.add(CONTENT)
    mirror.faults[f"/{deb.path}"] = [faulty.silent]
    process = started(store, deb, mirror, tmp_path / "log")
    wait_until(lambda: len(mirror.requests) == 1)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)
    process.join(50)  # less than the time-out of 60 s that the silent connection has
    assert process.exitcode == 130
    assert resume(store, deb, mirror) == ""


def test_two_processes_download_an_object_once(store: Store, mirror: Mirror, tmp_path: Path) -> None:
    deb = mirror.add(CONTENT)
    mirror.faults[f"/{deb.path}"] = [faulty.half_then_gate]
    logs = [tmp_path / "first", tmp_path / "second"]
    processes = [started(store, deb, mirror, log) for log in logs]
    wait_until(lambda: any(log.exists() for log in logs))
    mirror.gate.set()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(mirror.requests) == 1
    [note] = [log.read_text() for log in logs if log.exists()]
    assert note == "another process downloads tool 1.0 amd64; waiting for it"
    assert store.verified(deb.sha256, deb.size).read_bytes() == CONTENT
    assert list(store.partials()) == []


def test_killed_holder_hands_over_to_the_waiting_process(store: Store, mirror: Mirror, tmp_path: Path) -> None:
    deb = mirror.add(CONTENT)
    mirror.faults[f"/{deb.path}"] = [faulty.half_then_gate]
    holder = started(store, deb, mirror, tmp_path / "holder")
    wait_until(lambda: partial_size(store, deb) > 100_000)
    waiter = started(store, deb, mirror, tmp_path / "waiter")
    wait_until((tmp_path / "waiter").exists)
    holder.kill()
    holder.join(60)
    waiter.join(60)
    assert waiter.exitcode == 0
    assert store.verified(deb.sha256, deb.size).read_bytes() == CONTENT
    assert [request.range.startswith("bytes=") for request in mirror.requests] == [False, True]


def test_disk_too_small_is_told_before_anything_is_fetched(small_disk: Path, mirror: Mirror) -> None:
    debs = [mirror.add(CONTENT[n:], f"tool{n}") for n in range(5)]
    with pytest.raises(LichenError) as caught:
        fetch(Store(small_disk), debs, Sources({"debian": [mirror.url]}), Recorder())
    [problem] = caught.value.problems
    assert problem.what == "the disk is full"
    assert problem.where == str(small_disk)
    assert problem.why == "2 MiB more are needed, 1 MiB are free"
    assert "`lichen clean`" in problem.remedy
    assert mirror.requests == []


def test_disk_that_fills_up_meanwhile_is_one_error_and_the_next_run_resumes(small_disk: Path, mirror: Mirror) -> None:
    deb, store, filler = mirror.add(CONTENT), Store(small_disk), small_disk / "filler"

    def fills_the_disk(handler: faulty.Handler, body: bytes) -> None:
        filler.write_bytes(b"x" * ((1 << 20) - 200_000))
        handler.send(200, body)

    mirror.faults[f"/{deb.path}"] = [fills_the_disk]
    with pytest.raises(LichenError) as caught:
        fetch(store, [deb], Sources({"debian": [mirror.url]}), Recorder())
    [problem] = caught.value.problems
    assert problem.what == "the disk is full"
    assert problem.where == str(store.root)
    assert "1 MiB more are needed, 0 MiB are free" in problem.why
    assert "`lichen clean`" in problem.remedy
    assert list(store.objects()) == []
    filler.unlink()
    assert resume(store, deb, mirror).startswith("bytes=")
