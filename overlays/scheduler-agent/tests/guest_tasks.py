"""Tasks for the checks of guest_kernel.py, and what they are measured by."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
CPUS = sorted(os.sched_getaffinity(0))
SECONDS = float(os.environ.get("LICHEN_SECONDS", "8"))


class Failed(Exception):
    """A check did not hold."""


def expect(held: bool, what: object) -> None:
    """Ends the check when something did not hold."""
    if not held:
        raise Failed(what)


def ran(pid: int) -> float:
    """Seconds of processor that a process had so far."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def child(
    work: Callable[[], object],
    *,
    nice: int = 0,
    cpus: list[int] | None = None,
    cgroup: Path | None = None,
    stdin: int = 0,
) -> int:
    """A process that does it and ends."""
    pid = os.fork()
    if pid:
        return pid
    try:
        # What the scheduler has open would stay attached for as long as this process lives.
        os.dup2(stdin, 0)
        os.closerange(3, 1024)
        if cgroup:
            (cgroup / "cgroup.procs").write_text("0")
        if cpus:
            os.sched_setaffinity(0, cpus)
        if nice:
            os.setpriority(os.PRIO_PROCESS, 0, nice)
        work()
    finally:
        os._exit(0)


def hog() -> None:
    while True:
        pass


def sleeper() -> None:
    """Bursts of some kinds, with sleeps between."""
    for number in range(1 << 30):
        end = time.monotonic() + (0.0005, 0.002, 0.006)[number % 3]
        while time.monotonic() < end:
            pass
        time.sleep(0.003)


@contextmanager
def running(*pids: int) -> Iterator[None]:
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for pid in pids:
            os.waitpid(pid, 0)


def portions(pids: list[int], seconds: float = SECONDS) -> list[float]:
    """What each had of the processor time of all."""
    time.sleep(1)
    before = [ran(pid) for pid in pids]
    time.sleep(seconds)
    gained = [ran(pid) - old for pid, old in zip(pids, before, strict=True)]
    return [one / sum(gained) for one in gained]


def near(found: float, wanted: float, off: float = 0.1) -> bool:
    """Within a tenth, or another part of what is wanted."""
    return abs(found - wanted) <= off * wanted


def state() -> str:
    """Of sched_ext; "" where there is none."""
    path = Path("/sys/kernel/sched_ext/state")
    return path.read_text().strip() if path.exists() else ""


@contextmanager
def groups(**weights: int) -> Iterator[list[Path]]:
    made = [CGROUPS / f"lichen-test-{name}" for name in weights]
    try:
        for path, weight in zip(made, weights.values(), strict=True):
            path.mkdir()
            (path / "cpu.weight").write_text(str(weight))
        yield made
    finally:
        for path in made:
            if path.exists():
                removed(path)


def removed(path: Path) -> None:
    """Processes that end leave their cgroup a moment later."""
    for _ in range(50):
        try:
            path.rmdir()
        except OSError:
            time.sleep(0.1)
        else:
            return


def longest_gap(seconds: float) -> Callable[[], None]:
    """A worker that tells how long it was kept from running at most."""

    def work() -> None:
        end, last, worst = time.monotonic() + seconds, time.monotonic(), 0.0
        while last < end:
            now = time.monotonic()
            worst, last = max(worst, now - last), now
        Path("/tmp/lichen-gap").write_text(str(worst))

    return work
