"""What is measured, in which units, and which way is better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .configurations import OBSERVED, REFERENCE

Better = Literal["higher", "lower", ""]


@dataclass(frozen=True)
class Measure:
    """One number of a run.

    Attributes:
        better: which way; empty where neither is, as of context switches.
        source: where it comes from; always the same for all configurations but for ``kernel_``, which our programs
            in the kernel measure where they are loaded.
        reference: configuration that the others are compared with.
    """

    name: str
    title: str
    unit: str
    better: Better
    source: str
    reference: str = REFERENCE


PROBE = "own probe: a task that sleeps until a moment and looks how late it runs, its own way there included"
KERNEL = "our programs in the kernel: from runnable to running, of all tasks; only where they are loaded"
WORK = "what the workload says"

MEASURES = {
    item.name: item
    for item in (
        Measure("throughput", "work in a second", "1/s", "higher", WORK),
        Measure("response_p50_ms", "median response", "ms", "lower", WORK),
        Measure("response_p99_ms", "99th percentile of responses", "ms", "lower", WORK),
        Measure("background", "work of the background in a second", "1/s", "higher", WORK),
        Measure("jain_weights", "Jain's index over cgroups' shares by weight", "", "higher", "cpu.stat of cgroups"),
        Measure("jain_users", "Jain's index over users of the same weight", "", "higher", "cpu.stat of cgroups"),
        Measure("jain_nice", "Jain's index over nice values' shares by weight", "", "higher", "/proc/PID/schedstat"),
        Measure("probe_p50_us", "median wake-up latency", "us", "lower", PROBE),
        Measure("probe_p99_us", "99th percentile of wake-up latency", "us", "lower", PROBE),
        Measure("probe_p999_us", "99.9th percentile of wake-up latency", "us", "lower", PROBE),
        Measure("wait_mean_us", "mean wait in the run queue", "us", "lower", "/proc/schedstat"),
        Measure("kernel_p50_us", "median wait in the run queue", "us", "lower", KERNEL, OBSERVED),
        Measure("kernel_p99_us", "99th percentile of waits in the run queue", "us", "lower", KERNEL, OBSERVED),
        Measure("kernel_p999_us", "99.9th percentile of waits in the run queue", "us", "lower", KERNEL, OBSERVED),
        Measure("switches", "context switches", "", "", "/proc/stat"),
        Measure("migrations", "migrations", "", "", "perf's software event"),
    )
}
