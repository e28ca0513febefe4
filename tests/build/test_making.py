"""Folders complete or absent: what is left by a kill is swept, what is being made is not, one at a time."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from builder.data.history import Target
from builder.data.plan import Component
from builder.foundation import atomic
from builder.foundation.atomic import disk_error, replace_folder, write_atomically
from builder.foundation.errors import InterruptError
from builder.foundation.making import alone, made_anew, sweep
from builder.foundation.process import ProcessError, Runner
from builder.foundation.scratch import scratch_folder
from builder.steps.components import RECORD, ComponentCache
from tests.build.bench import wait_until
from tests.conftest import ended

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


def write_and_hang(path: Path) -> None:
    os.fsync = lambda fd: time.sleep(300)
    write_atomically(path, "half")


def run_and_hang(folder: Path) -> None:
    Runner().run(["sh", "-c", "echo $$ > pid; exec sleep 300"], cwd=folder)


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


def test_processes_of_a_killed_run_are_killed(tmp_path: Path) -> None:
    """Such as dpkg-deb, which would go on to fill a folder that the next run has swept and makes anew."""
    process = started(run_and_hang, tmp_path)
    wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    tool = int((tmp_path / "pid").read_text())
    assert not ended(tool)
    process.kill()
    process.join()
    wait_until(lambda: ended(tool))


def test_program_that_somebody_kills_is_told_as_such() -> None:
    with pytest.raises(ProcessError) as caught:
        Runner().run(["sh", "-c", "kill -KILL $$"])
    assert caught.value.problems[0].what == "sh was ended by signal 9"


def test_half_written_file_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "lock.json"
    write_atomically(path, "old")
    process = started(write_and_hang, path)
    half = tmp_path / ".lock.json.partial"
    wait_until(lambda: half.exists() and half.read_text())
    process.kill()
    process.join()
    assert path.read_text() == "old"
    write_atomically(path, "new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o644
    assert names(tmp_path) == {"lock.json"}


def test_one_file_is_written_by_many(tmp_path: Path) -> None:
    path = tmp_path / "lock.json"
    texts = {str(number) * 100_000 for number in range(4)}

    def write(text: str) -> None:
        for _ in range(20):
            write_atomically(path, text)
            assert path.read_text() in texts

    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(write, text) for text in texts]:
            done.result()
    assert names(tmp_path) == {"lock.json"}


def test_full_disk_is_the_one_that_is_written(tmp_path: Path) -> None:
    """A copy names two files; the first one is only read."""
    error = OSError(errno.ENOSPC, "full", str(tmp_path / "source"), None, str(tmp_path / "target"))
    [problem] = disk_error(error, tmp_path).problems
    assert (problem.what, problem.where) == ("the disk is full", str(tmp_path / "target"))


@pytest.mark.parametrize("record", ["{", '{"inputs": {"a": "2"}, "size": 1}', '{"inputs": {"a": "1"}}', "\x00"])
def test_component_with_a_damaged_record_is_built_anew(tmp_path: Path, record: str) -> None:
    kept, component = ComponentCache(tmp_path), Component(name="part", inputs={"a": "1"})
    made: list[Path] = []

    def make(folder: Path) -> None:
        made.append(folder)
        (folder / "file").write_text("whole")

    target = Target(profile="small", architecture="amd64")
    path = kept.provide(component, target, make)
    assert kept.provide(component, target, make) == path
    assert len(made) == 1
    (path / RECORD).write_text(record)
    assert not kept.has(component)
    kept.provide(component, target, make)
    assert len(made) == 2
    assert kept.has(component)
    assert (path / "file").read_text() == "whole"
    assert kept.size(component) > 0
