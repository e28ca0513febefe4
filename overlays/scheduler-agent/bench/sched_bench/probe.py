"""The wake-up latency probe: sleeps until a moment, looks how late it runs, again and again.

    python3 -m sched_bench.probe --seed 1

Two processes, not bound to processors, at random intervals so that they follow no clock tick. A line says that they
have begun; they end when standard input does, and one JSON object with the histogram is printed. What Python itself
takes from waking to looking at the clock is in every delay (``floor_us``: the least that was seen), so compare
configurations and not with other tools.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import random
import select
import sys
import time

from .histogram import counted, pooled

TASKS = 2
INTERVAL = (0.002, 0.006)  # seconds
_PR_SET_TIMERSLACK = 29
_ABSOLUTE = 1


class _Moment(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


def delays(seed: int, ended: int) -> list[int]:
    """Nanoseconds that each waking came late, until the descriptor ``ended`` can be read."""
    libc = ctypes.CDLL(None)
    # Timers of ordinary tasks may come 50 us late on purpose; these shall not.
    libc.prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    chance = random.Random(seed)  # noqa: S311
    sleep, clock = libc.clock_nanosleep, time.clock_gettime_ns
    moment = _Moment()
    pointer = ctypes.byref(moment)
    found = []
    while not select.select([ended], [], [], 0)[0]:
        due = clock(time.CLOCK_MONOTONIC) + int(1e9 * chance.uniform(*INTERVAL))
        moment.seconds, moment.nanoseconds = divmod(due, 1_000_000_000)
        sleep(time.CLOCK_MONOTONIC, _ABSOLUTE, pointer, None)
        found.append(clock(time.CLOCK_MONOTONIC) - due)
    return found


def main() -> None:
    """Probe, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, required=True)
    arguments = parser.parse_args()
    results = []
    for number in range(TASKS):
        read, write = os.pipe()
        if os.fork() == 0:
            got = delays(arguments.seed + number, sys.stdin.fileno())
            found = {
                "counts": counted(got),
                "floor_us": min(got, default=0) / 1000,
                "most_us": max(got, default=0) / 1000,
            }
            with open(write, "w", encoding="ascii") as stream:
                json.dump(found, stream)
            os._exit(0)
        os.close(write)
        results.append(read)
    # They sleep and wake by now, or will in a moment; whoever waits for this line has not waited for Python.
    print("ready", flush=True)
    found = []
    for read in results:
        with open(read, encoding="ascii") as stream:
            found.append(json.load(stream))
        os.wait()
    print(
        json.dumps(
            {
                "counts": pooled(item["counts"] for item in found),
                "floor_us": min(item["floor_us"] for item in found),
                "most_us": max(item["most_us"] for item in found),
            }
        )
    )


if __name__ == "__main__":
    main()
