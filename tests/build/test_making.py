"""Folders complete or absent: what is left by a kill is swept, what is being made is not, one at a time."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from builder.foundation import atomic
from builder.foundation.atomic import replace_folder
from builder.foundation.errors import InterruptError
from builder.foundation.making import alone, made_anew, sweep
from builder.foundation.process import Runner
from builder.foundation.scratch import scratch_folder
from tests.build.bench import wait_until

SPAWN = multiprocessing.get_context("spawn")  # the parent has threads: forking it is not safe


def fill(path: Path, text: str) -> None:
    with alone(path), made_anew(path) as folder:
        (folder / "file").write_text(text)


def fill_and_hang(path: Path) -> None:
    with alone(path), made_anew(path) as folder:
        (folder / "file").write_text("half")
        time.sleep(300)


def hang_in_scratch(root: Path) -> None:
    with scratch_folder(root) as folder:
        (folder / "file").write_text("half")
        time.sleep(300)


def enter_scratch(root: Path, rounds: int) -> None:
    for _ in range(rounds):
        with scratch_folder(root) as folder:
            (folder / "file").write_text("x")
            assert (folder / "file").read_text() == "x"


def started(target: object, *arguments: object) -> BaseProcess:
    process = SPAWN.Process(target=target, args=arguments)  # type: ignore[arg-type]
    process.start()
    return process


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_complete_or_absent(tmp_path: Path) -> None:
    path = tmp_path / "made"
    fill(path, "first")
    with pytest.raises(KeyboardInterrupt), alone(path), made_anew(path):
        raise KeyboardInterrupt
    assert (path / "file").read_text() == "first"
    fill(path, "second")
    assert (path / "file").read_text() == "second"
    assert names(tmp_path) == {"made"}


@pytest.mark.parametrize("exchange", [True, False])
def test_replaced_with_and_without_exchange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool) -> None:
    """Not every file system can exchange two names."""
    real = atomic._exchange
    monkeypatch.setattr(atomic, "_exchange", lambda first, second: exchange and real(first, second))
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    replace_folder(tmp_path / "new", tmp_path / "old")
    assert (tmp_path / "old" / "file").read_text() == "new"
    assert names(tmp_path) == {"old"}


def test_there_is_always_a_whole_folder(tmp_path: Path) -> None:
    """While it is replaced again and again."""
    path = tmp_path / "made"
    fill(path, "0")
    ended = threading.Event()

    def replace() -> None:
        for number in range(200):
            fill(path, str(number))
        ended.set()

    thread = threading.Thread(target=replace)
    thread.start()
    folders = 0
    while not ended.is_set():
        # One look-up of the name; what it leads to may be replaced a moment later.
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        os.close(descriptor)
        folders += 1
    thread.join()
    assert folders


def test_killed_one_is_swept_or_replaced(tmp_path: Path) -> None:
    paths = [tmp_path / "one", tmp_path / "two"]
    processes = [started(fill_and_hang, path) for path in paths]
    halves = [tmp_path / f".{path.name}.partial" / "file" for path in paths]
    wait_until(lambda: all(half.exists() for half in halves))
    sweep(tmp_path)
    assert all(half.exists() for half in halves)
    for process in processes:
        process.kill()
        process.join()
    fill(paths[0], "whole")
    assert names(tmp_path) == {"one", ".two.partial", ".two.lock"}
    sweep(tmp_path)
    assert names(tmp_path) == {"one"}


def test_waiting_can_be_given_up(tmp_path: Path) -> None:
    told: list[str] = []
    stop = threading.Event()

    def waiting() -> None:
        told.append("waiting")
        stop.set()

    with (
        alone(tmp_path / "made"),
        pytest.raises(InterruptError),
        alone(tmp_path / "made", waiting=waiting, stop=stop),
    ):
        pass
    assert told == ["waiting"]


def test_one_at_a_time(tmp_path: Path) -> None:
    inside: list[int] = []

    def enter() -> None:
        for _ in range(50):
            with alone(tmp_path / "made"):
                inside.append(1)
                assert len(inside) == 1
                inside.pop()

    threads = [threading.Thread(target=enter) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names(tmp_path) == set()


def test_scratch_of_a_killed_run_is_swept(tmp_path: Path) -> None:
    process = started(hang_in_scratch, tmp_path)
    wait_until(lambda: any(tmp_path.glob("run-*/file")))
    with scratch_folder(tmp_path):
        assert any(tmp_path.glob("run-*/file"))
    process.kill()
    process.join()
    with scratch_folder(tmp_path) as folder:
        assert names(tmp_path) == {folder.name}
    assert names(tmp_path) == set()


def test_scratch_folders_do_not_sweep_one_another(tmp_path: Path) -> None:
    """Several processes come and go; none loses its folder between its making and its locking."""
    processes = [started(enter_scratch, tmp_path, 300) for _ in range(3)]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]


def test_stubborn_process_is_killed_when_told_twice(tmp_path: Path) -> None:
    """A second interruption, during the patience with the first, leaves no process either."""
    script = "trap '' TERM; echo $$ > pid; while :; do sleep 1; done"
    runner = Runner()
    main = threading.main_thread().ident
    assert main is not None

    def interrupt_twice() -> None:
        wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
        for _ in range(2):
            time.sleep(0.3)
            signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt_twice)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        runner.run(["sh", "-c", script], cwd=tmp_path)
    thread.join()
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()
    assert sys.exc_info() == (None, None, None)
