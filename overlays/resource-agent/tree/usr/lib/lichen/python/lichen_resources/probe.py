"""A probe of how soon a process is woken and how much it gets done: sleeps, notes how late it is, works for a moment.

SIGUSR1 begins to count, SIGTERM ends it and prints the result. Both are checked between two sleeps.
"""

from __future__ import annotations

import json
import signal
import sys
import time

READY = b"ready\n"  # its first line: it hears signals now
PERIOD = 0.01  # seconds
WORK = 200  # rounds of work for each time awake: a fraction of a millisecond


def main() -> None:
    """Measure until told to end, at most so many seconds as the argument says."""
    told: set[int] = set()
    for number in (signal.SIGUSR1, signal.SIGTERM):
        signal.signal(number, lambda which, _frame: told.add(which))
    print(READY.decode(), end="", flush=True)
    ends = time.monotonic() + float(sys.argv[1])
    late: list[float] = []
    began, worked = 0.0, 0
    while signal.SIGTERM not in told and (now := time.monotonic()) < ends:
        due = now + PERIOD
        time.sleep(PERIOD)
        woke = time.monotonic()
        if signal.SIGUSR1 in told:
            began = began or now
            late.append(max(0.0, woke - due) * 1000)
            worked += 1
        _work()
    print(json.dumps(summary(late, worked, time.monotonic() - began if began else 0.0)))


def _work() -> int:
    total = 0
    for number in range(WORK):
        total += number * number % 7
    return total


def summary(late: list[float], worked: int, seconds: float) -> dict[str, float]:
    """Milliseconds late: median, 99th percentile, worst; and times awake per second."""
    ordered = sorted(late) or [0.0]
    at = [ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in (0.5, 0.99)]
    return {"p50": at[0], "p99": at[1], "worst": ordered[-1], "work": worked / seconds if seconds else 0.0}


if __name__ == "__main__":
    main()
