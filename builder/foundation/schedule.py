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
        memory: bytes that it may take while it runs.
    """

    run: Callable[[], object]
    needs: tuple[str, ...] = ()
    processors: int = 1
    memory: int = 0


@dataclass(frozen=True)
class Limits:
    """What tasks that run at once may take together; ``memory`` in bytes, ``jobs`` is how many they may be at most."""

    processors: int
    memory: int
    jobs: int | None = None


def run_all(tasks: Mapping[str, Task], limits: Limits, stop: Callable[[], None]) -> None:
    """Run all tasks, each once what it needs is done; of those that could start, earlier ones first.

    When one fails, or we are interrupted, no other starts, ``stop`` is called until all that run have ended, and the
    error is raised.

    Args:
        stop: lets running tasks end soon; called several times, since one may be between two of its processes.

    Raises:
        ValueError: a task needs one that does not exist, or itself in the end; nothing was started.
    """
    _require_order(tasks)
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


def _fit(tasks: Collection[Task], limits: Limits) -> bool:
    return (
        sum(task.processors for task in tasks) <= limits.processors
        and sum(task.memory for task in tasks) <= limits.memory
        and (limits.jobs is None or len(tasks) <= limits.jobs)
    )


def _require_order(tasks: Mapping[str, Task]) -> None:
    """Refuse tasks that could never start."""
    done: set[str] = set()
    while ready := [name for name, task in tasks.items() if name not in done and done.issuperset(task.needs)]:
        done.update(ready)
    if never := [name for name in tasks if name not in done]:
        raise ValueError(f"these tasks need what is no task, or one another: {', '.join(never)}")
