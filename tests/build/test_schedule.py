"""Tasks beside one another: what may start is decided purely; threads do it, and stop together."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Collection

import pytest

from builder.foundation.errors import LichenError, Problem
from builder.foundation.schedule import Limits, Task, remaining, run_all, startable

GIB = 1 << 30
ROOMY = Limits(processors=8, memory=64 * GIB)


def nothing() -> None:
    pass


def never_stopped() -> None:
    pytest.fail("nothing failed")


# What the lead of a build with an own kernel has: toolchain before kernel, kernel before modules before base.
BUILD = {
    "toolchain": Task(nothing, memory=3 * GIB),
    "initrd": Task(nothing, memory=2 * GIB),
    "python": Task(nothing, memory=4 * GIB),
    "kernel-config": Task(nothing, needs=("toolchain",)),
    "kernel": Task(nothing, needs=("kernel-config", "toolchain"), processors=8, memory=8 * GIB),
    "modules": Task(nothing, needs=("kernel",)),
    "base": Task(nothing, needs=("kernel", "modules"), memory=4 * GIB),
}


@pytest.mark.parametrize(
    ("done", "running", "limits", "expected"),
    [
        # What needs nothing starts; the order is that of the tasks.
        ([], [], ROOMY, ["toolchain", "initrd", "python"]),
        ([], ["initrd"], ROOMY, ["toolchain", "python"]),
        # Processors.
        ([], [], Limits(2, 64 * GIB), ["toolchain", "initrd"]),
        ([], ["python"], Limits(2, 64 * GIB), ["toolchain"]),
        ([], ["python", "initrd"], Limits(2, 64 * GIB), []),
        # Memory, up to the last byte: the one that does not fit lets a smaller one go first.
        ([], [], Limits(8, 9 * GIB), ["toolchain", "initrd", "python"]),
        ([], [], Limits(8, 9 * GIB - 1), ["toolchain", "initrd"]),
        ([], ["python"], Limits(8, 6 * GIB), ["initrd"]),
        # Jobs.
        ([], [], Limits(8, 64 * GIB, jobs=1), ["toolchain"]),
        ([], [], Limits(8, 64 * GIB, jobs=2), ["toolchain", "initrd"]),
        ([], ["python"], Limits(8, 64 * GIB, jobs=1), []),
        # At least one always runs, however small the machine.
        ([], [], Limits(1, 0), ["toolchain"]),
        ([], ["toolchain"], Limits(1, 0), []),
        (["toolchain", "initrd", "python", "kernel-config"], [], Limits(2, GIB), ["kernel"]),
        # All needs must be done, not begun.
        (["toolchain", "initrd", "python"], ["kernel-config"], ROOMY, []),
        (["toolchain", "initrd", "python", "kernel-config"], [], ROOMY, ["kernel"]),
        # What takes all processors waits for the others, and they for it.
        (["toolchain", "kernel-config"], ["python"], ROOMY, ["initrd"]),
        (["toolchain", "kernel-config", "initrd"], ["kernel"], ROOMY, []),
        (["toolchain", "kernel-config", "initrd", "python", "kernel"], [], ROOMY, ["modules"]),
        (list(BUILD), [], ROOMY, []),
    ],
)
def test_what_may_start(
    done: Collection[str], running: Collection[str], limits: Limits, expected: Collection[str]
) -> None:
    assert startable(BUILD, done, running, limits) == tuple(expected)


def test_what_is_kept_takes_no_processor() -> None:
    tasks = {**BUILD, "initrd": Task(nothing, processors=0)}
    assert startable(tasks, [], ["toolchain", "python"], Limits(2, 64 * GIB)) == ("initrd",)


def test_memory_is_asked_for_when_what_is_needed_is_done() -> None:
    """What an image takes depends on parts that are not there before."""

    def unknown() -> int:
        pytest.fail("nobody knows yet")

    tasks = {"base": Task(nothing), "image": Task(nothing, needs=("base",), memory=unknown)}
    assert startable(tasks, [], [], ROOMY) == ("base",)
    known = {**tasks, "image": Task(nothing, needs=("base",), memory=lambda: 65 * GIB), "other": Task(nothing)}
    assert startable(known, ["base"], ["other"], ROOMY) == ()
    assert startable(known, ["base", "other"], [], ROOMY) == ("image",)


def test_what_is_still_to_be_done() -> None:
    tasks = {
        "base": Task(nothing, needs=("tools",), seconds=60),
        "image": Task(nothing, needs=("base", "initrd"), seconds=40),
        "tools": Task(nothing, seconds=50),
        "initrd": Task(nothing, needs=("tools",), seconds=500),
        "other": Task(nothing),
    }
    assert remaining(tasks) == {"image": 40, "base": 100, "initrd": 540, "tools": 590, "other": 0}


class Watched:
    """Tasks that write down when they begin and end, and what ran beside them."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.beside: dict[str, set[str]] = {}
        self._running: set[str] = set()
        self._guard = threading.Lock()

    def task(self, name: str, inner: Callable[[], object] = nothing, **more: object) -> Task:
        def run() -> None:
            with self._guard:
                self._running.add(name)
                for other in self._running:
                    self.beside.setdefault(other, set()).update(self._running)
            try:
                inner()
            finally:
                with self._guard:
                    self._running.remove(name)
                    self.order.append(name)

        return Task(run, **more)  # type: ignore[arg-type]


def test_each_runs_once_behind_what_it_needs() -> None:
    seen = Watched()
    tasks = {
        "image": seen.task("image", needs=("base", "initrd")),
        "base": seen.task("base", needs=("tools",)),
        "initrd": seen.task("initrd", needs=("tools",)),
        "tools": seen.task("tools"),
    }
    run_all(tasks, ROOMY, never_stopped)
    assert seen.order[0] == "tools"
    assert sorted(seen.order[1:3]) == ["base", "initrd"]
    assert seen.order[3:] == ["image"]


def test_longest_chain_goes_first() -> None:
    """With one processor the order is the order of starts; equal ones keep theirs."""
    seen = Watched()
    tasks = {
        "quick": seen.task("quick", seconds=1),
        "quick too": seen.task("quick too", seconds=1),
        "long": seen.task("long", seconds=5),
        "leads to more": seen.task("leads to more", seconds=2),
        "more": seen.task("more", needs=("leads to more",), seconds=4),
    }
    run_all(tasks, Limits(1, 0), never_stopped)
    assert seen.order == ["leads to more", "long", "more", "quick", "quick too"]


def test_no_tasks() -> None:
    run_all({}, ROOMY, never_stopped)


def test_independent_tasks_run_at_once() -> None:
    """Each waits for the other: one after another they would never end."""
    both = threading.Barrier(2, timeout=60)
    run_all({"one": Task(both.wait), "two": Task(both.wait)}, ROOMY, never_stopped)


@pytest.mark.parametrize("limits", [Limits(1, 8), Limits(8, 1), Limits(8, 8, jobs=1)])
def test_limits_hold_while_tasks_run(limits: Limits) -> None:
    seen = Watched()
    tasks = {str(number): seen.task(str(number), lambda: time.sleep(0.01), memory=1) for number in range(6)}
    run_all(tasks, limits, never_stopped)
    assert seen.beside == {name: {name} for name in tasks}


def test_task_starts_as_soon_as_what_it_needs_is_done() -> None:
    """Not only when a whole round has ended."""
    behind = threading.Event()
    tasks = {
        "slow": Task(lambda: behind.wait(60)),
        "quick": Task(nothing),
        "behind quick": Task(behind.set, needs=("quick",)),
    }
    run_all(tasks, ROOMY, never_stopped)
    assert behind.is_set()


def test_failure_stops_the_others_and_starts_nothing() -> None:
    stopped, again = threading.Event(), threading.Event()
    begun = threading.Barrier(2, timeout=60)

    def fail() -> None:
        begun.wait()
        raise LichenError(Problem("the screw is loose"))

    def work() -> None:
        begun.wait()
        stopped.wait(60)
        again.wait(60)  # as between two of its processes
        raise LichenError(Problem("stopped"))

    def stop() -> None:
        (again if stopped.is_set() else stopped).set()

    tasks = {
        "fails": Task(fail),
        "works": Task(work),
        "waits": Task(lambda: pytest.fail("it was started"), needs=("works",)),
        "does not fit": Task(lambda: pytest.fail("it was started"), memory=65 * GIB),
    }
    with pytest.raises(LichenError, match="the screw is loose"):
        run_all(tasks, ROOMY, stop)
    assert again.is_set()


def test_interruption_stops_all() -> None:
    stopped = threading.Event()
    main = threading.main_thread().ident
    assert main is not None

    def work() -> None:
        signal.pthread_kill(main, signal.SIGINT)
        assert stopped.wait(60)

    tasks = {"works": Task(work), "waits": Task(lambda: pytest.fail("it was started"), needs=("works",))}
    with pytest.raises(KeyboardInterrupt):
        run_all(tasks, ROOMY, stopped.set)


@pytest.mark.parametrize(
    "needs", [{"a": ("b",), "b": ("a",)}, {"a": ("a",)}, {"a": ("c",)}, {"a": (), "b": ("a", "c")}]
)
def test_tasks_that_could_never_start_are_refused(needs: dict[str, tuple[str, ...]]) -> None:
    begun: list[str] = []
    tasks = {name: Task(lambda: begun.append("x"), needs=needed) for name, needed in needs.items()}
    with pytest.raises(ValueError, match="need what is no task, or one another"):
        run_all(tasks, ROOMY, never_stopped)
    assert begun == []
