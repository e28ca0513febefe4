"""Counts of the whole machine, from sources that are the same whichever scheduler runs."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241, "riscv64": 241}
_SOFTWARE, _MIGRATIONS = 1, 4  # PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CPU_MIGRATIONS
_SIZE = 64  # PERF_ATTR_SIZE_VER0
_CLOSE_ON_EXEC = 8


class Counts(NamedTuple):
    """At one moment, since some beginning; -1 where the machine does not tell."""

    switches: int
    waited_ns: int
    slices: int
    migrations: int


def switches(stat: str) -> int:
    """Context switches, from the text of /proc/stat."""
    return next(int(line.split()[1]) for line in stat.splitlines() if line.startswith("ctxt "))


def waits(schedstat: str) -> tuple[int, int]:
    """Nanoseconds that tasks waited in run queues, and how often one began to run, from /proc/schedstat."""
    rows = [line.split() for line in schedstat.splitlines() if line.startswith("cpu")]
    # The last three fields of a processor: time run, time waited, number of time slices.
    return sum(int(row[-2]) for row in rows), sum(int(row[-1]) for row in rows)


class Counters:
    """Reads them; one event of perf for each processor is open meanwhile."""

    def __init__(self) -> None:
        self._events: list[int] = []

    def __enter__(self) -> Self:
        number = _PERF_EVENT_OPEN.get(platform.machine())
        libc = ctypes.CDLL(None, use_errno=True)
        for processor in range(os.cpu_count() or 1) if number else ():
            # Type, size, event; everything else 0: counts kernel and user, all tasks.
            attributes = struct.pack("IIQ", _SOFTWARE, _SIZE, _MIGRATIONS).ljust(_SIZE, b"\0")
            event = libc.syscall(number, attributes, -1, processor, -1, _CLOSE_ON_EXEC)
            if event < 0:
                self._close()
                break
            self._events.append(event)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        for event in self._events:
            os.close(event)
        self._events.clear()

    def read(self) -> Counts:
        """As they are now."""
        moved = sum(struct.unpack("Q", os.read(event, 8))[0] for event in self._events) if self._events else -1
        schedstat = Path("/proc/schedstat")
        waited, slices = waits(schedstat.read_text()) if schedstat.exists() else (-1, -1)
        return Counts(switches(Path("/proc/stat").read_text()), waited, slices, moved)


def between(before: Counts, after: Counts) -> dict[str, float]:
    """What happened, as values of measures; none of what the machine does not tell."""
    found: dict[str, float] = {"switches": after.switches - before.switches}
    if after.migrations >= 0:
        found["migrations"] = after.migrations - before.migrations
    if (slices := after.slices - before.slices) > 0:
        found["wait_mean_us"] = (after.waited_ns - before.waited_ns) / slices / 1000
    return found
