"""The time of events and the time on the wall."""

from __future__ import annotations

import time


def boot_time() -> int:
    """Now, as events have it: nanoseconds since boot, the time asleep included."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def on_the_wall(moment: int) -> float:
    """Seconds since 1970 of a moment in nanoseconds since boot, by the clock as it goes now."""
    return time.time() - (boot_time() - moment) / 1e9
