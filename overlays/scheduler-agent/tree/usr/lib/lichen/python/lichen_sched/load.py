"""Work for a few seconds: hogs that count hashes, pairs that hand a byte back and forth, and a probe that wakes up."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

SLEEP = 0.005  # seconds between two wake-ups of the probe
PIECE = b"\0" * 65536


def run_load(seconds: float) -> Mapping[str, float]:
    """Keep every processor busy for so long.

    Returns:
        ``hashes_per_second``, ``handovers_per_second``, ``switches_per_second`` of the whole machine, and how late the
        probe woke: ``late_p50``, ``late_p99``, ``late_max``, seconds.

    Raises:
        OSError: processes cannot be started.
    """
    processors = len(os.sched_getaffinity(0))
    end = time.monotonic() + seconds
    switches, began = _switches(), time.monotonic()
    hogs = [_begin(lambda: _hash_until(end)) for _ in range(processors)]
    pairs = [_begin(lambda: _hand_over_until(end)) for _ in range(max(1, processors // 2))]
    late = sorted(_probe_until(end))
    hashes, handovers = sum(map(_result, hogs)), sum(map(_result, pairs))
    took = time.monotonic() - began
    return {
        "hashes_per_second": hashes / took,
        "handovers_per_second": handovers / took,
        "switches_per_second": (_switches() - switches) / took,
        "late_p50": late[len(late) // 2],
        "late_p99": late[len(late) * 99 // 100],
        "late_max": late[-1],
    }


def _begin(work: Callable[[], int]) -> tuple[int, int]:
    """A child at work: its number and what its result comes out of."""
    reader, writer = os.pipe()
    if child := os.fork():
        os.close(writer)
        return child, reader
    try:
        os.write(writer, json.dumps(work()).encode())
    finally:
        # Nothing of what the parent would do at its end is ours.
        os._exit(0)


def _result(begun: tuple[int, int]) -> int:
    child, reader = begun
    with open(reader, "rb") as file:
        said = file.read()
    os.waitpid(child, 0)
    return int(said or 0)


def _hash_until(end: float) -> int:
    count = 0
    while time.monotonic() < end:
        hashlib.sha256(PIECE).digest()
        count += 1
    return count


def _hand_over_until(end: float) -> int:
    there, back = os.pipe(), os.pipe()
    if os.fork() == 0:
        os.close(there[1])
        while os.read(there[0], 1):
            os.write(back[1], b"x")
        os._exit(0)
    count = 0
    while time.monotonic() < end:
        os.write(there[1], b"x")
        os.read(back[0], 1)
        count += 1
    os.close(there[1])
    os.wait()
    return count


def _probe_until(end: float) -> list[float]:
    late = []
    while (before := time.monotonic()) < end:
        time.sleep(SLEEP)
        late.append(time.monotonic() - before - SLEEP)
    return late


def _switches() -> int:
    with Path("/proc/stat").open(encoding="ascii") as stat:
        return next(int(line.split()[1]) for line in stat if line.startswith("ctxt"))
