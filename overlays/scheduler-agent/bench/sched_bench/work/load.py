"""What the workloads share: work in fixed portions, processes that keep a processor busy, quantiles."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Sequence

PORTION = 2000  # steps between two looks at the clock


def spin(steps: int, value: int = 1) -> int:
    """So many steps of arithmetic; the same work each time."""
    for _ in range(steps):
        value = (value * 1103515245 + 12345) & 0x7FFFFFFF
    return value


def hog(until: float) -> int:
    """Works until the monotonic clock says ``until``; how many portions were done."""
    done = 0
    while time.monotonic() < until:
        spin(PORTION)
        done += 1
    return done


class Hogs:
    """Processes that work until a moment, as a background does."""

    def __init__(self, count: int, until: float) -> None:
        self._until, self._began = until, time.monotonic()
        self._read, write = os.pipe()
        self._children = []
        for _ in range(count):
            child = os.fork()
            if child == 0:
                os.write(write, struct.pack("q", hog(until)))
                os._exit(0)
            self._children.append(child)
        os.close(write)

    def rate(self) -> float:
        """Waits for their end; portions of all in a second."""
        for child in self._children:
            os.waitpid(child, 0)
        done = os.read(self._read, 8 * len(self._children))
        os.close(self._read)
        return sum(value for (value,) in struct.iter_unpack("q", done)) / (self._until - self._began)


def quantile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def responses(seconds: Sequence[float]) -> dict[str, float]:
    """Response times as the measures have them."""
    return {
        "response_p50_ms": quantile(seconds, 0.5) * 1000,
        "response_p99_ms": quantile(seconds, 0.99) * 1000,
        "responses": len(seconds),
    }
