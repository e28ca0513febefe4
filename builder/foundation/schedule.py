"""Running tasks that need one another, as many at once as the machine has room for.

What may start next is decided by :func:`startable`, which is pure; :func:`run_all` does it with threads.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

_POLL_SECONDS = 0.2  # between two calls of ``stop``


@dataclass(frozen=True)
class Task:
    """Something to do.

    Attributes:
        run: does it; called in a thread of its own.
        needs: names of the tasks that must be done before.
        processors: how many it may keep busy.
        memory: bytes that it may take while it runs; asked for when all that it needs is done, for what cannot be
            known before.
        seconds: how long it may take, which decides about nothing but the order.
    """

    run: Callable[[], object]
    needs: tuple[str, ...] = ()
    processors: int = 1
    memory: int | Callable[[], int] = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Limits:
    """What tasks that run at once may take together; ``memory`` in bytes, ``jobs`` is how many they may be at most."""

    processors: int
    memory: int
    jobs: int | None = None


def run_all(tasks: Mapping[str, Task], limits: Limits, stop: Callable[[], None]) -> None:
    """Run all tasks, each once what it needs is done.

    Of those that could start, the one goes first behind which most is still to be done (:func:`remaining`), so that
    nobody waits for a long chain that began late; of equal ones the earlier.

    When one fails, or we are interrupted, no other starts, ``stop`` is called until all that run have ended, and the
    error is raised.

    Args:
        stop: lets running tasks end soon; called several times, since one may be between two of its processes.

    Raises:
        ValueError: a task needs one that does not exist, or itself in the end; nothing was started.
    """
    left = remaining(tasks)
    tasks = {name: tasks[name] for name in sorted(tasks, key=lambda name: -left[name])}
    done: set[str] = set()
    running: dict[Future[object], str] = {}
    with ThreadPoolExecutor(max(1, len(tasks))) as pool:
        try:
            while len(done) < len(tasks):
                for name in startable(tasks, done, running.values(), limits):
                    running[pool.submit(tasks[name].run)] = name
                ended, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in ended:
                    future.result()
                    done.add(running.pop(future))
        except BaseException:
            stop()
            while wait(running, _POLL_SECONDS).not_done:
                stop()
            raise


def startable(
    tasks: Mapping[str, Task], done: Collection[str], running: Collection[str], limits: Limits
) -> tuple[str, ...]:
    """Names of the tasks to start now, in the order of ``tasks``.

    A task that does not fit beside those that run waits, and lets smaller ones go first. One that is too large for the
    machine runs alone: the limits say what goes together, not what goes at all.
    """
    together = list(running)
    chosen = []
    for name, task in tasks.items():
        waits = name not in done and name not in running and all(need in done for need in task.needs)
        if waits and (not together or _fit([*(tasks[item] for item in together), task], limits)):
            together.append(name)
            chosen.append(name)
    return tuple(chosen)


def remaining(tasks: Mapping[str, Task]) -> dict[str, float]:
    """For each task the seconds from its start to the end of the longest chain of tasks that need it.

    Raises:
        ValueError: a task needs one that does not exist, or itself in the end.
    """
    behind = dict.fromkeys(tasks, 0.0)
    left: dict[str, float] = {}
    for name in reversed(_in_order(tasks)):
        left[name] = tasks[name].seconds + behind[name]
        for need in tasks[name].needs:
            behind[need] = max(behind[need], left[name])
    return left


def _fit(tasks: Collection[Task], limits: Limits) -> bool:
    return (
        sum(task.processors for task in tasks) <= limits.processors
        and sum(_memory(task) for task in tasks) <= limits.memory
        and (limits.jobs is None or len(tasks) <= limits.jobs)
    )


def _memory(task: Task) -> int:
    return task.memory() if callable(task.memory) else task.memory


def _in_order(tasks: Mapping[str, Task]) -> list[str]:
    """The names of the tasks, each behind those that it needs; refuses tasks that could never start."""
    order: dict[str, None] = {}
    while ready := [name for name, task in tasks.items() if name not in order and order.keys() >= set(task.needs)]:
        order.update(dict.fromkeys(ready))
    if never := [name for name in tasks if name not in order]:
        raise ValueError(f"these tasks need what is no task, or one another: {', '.join(never)}")
    return list(order)
