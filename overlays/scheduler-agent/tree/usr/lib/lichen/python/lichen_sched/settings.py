"""/etc/lichen/sched.toml, and the places that no setting moves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lichen_agent.settings import faults, read_values, refuse

CONFIGURATION = Path("/etc/lichen/sched.toml")
OBJECT = Path("/usr/lib/lichen/bpf/lichen-sched.bpf.o")
CONTROL = Path("/run/lichen-sched/control")
STATE = Path("/var/lib/lichen-sched")
MODES = ("off", "observe", "active")
PREDICTORS = ("auto", "constant", "last", "ewma", "trees")


@dataclass(frozen=True)
class Settings:
    """The contents of the file.

    Attributes:
        mode: ``off``, ``observe`` under EEVDF, or ``active``: our scheduler.
        predictor: ``auto``, the best of what was tried, or one of the others.
        slice_min_us, slice_max_us: between these a task runs without a break.
        ignore_cpu_quotas: may ours be in force where cgroups have a limit of processor time, which it does not keep?
        preempt_us: by how much a woken task's deadline has to be earlier for it to preempt; 0: it never does.
        learning: are models learned?
        retrain_hours: between two learnings.
        margin: share of the best baseline's error that a model has to gain to be installed.
        samples_per_second: that the kernel hands over at most, about.
        latency_factor: how many times EEVDF's 99th percentile of run-queue delays is too long.
        latency_floor_ms: delays below are never too long; ``longest_wait_ms``: a single one above always is.
        retry_seconds: to wait after the first return to EEVDF, twice as long after each further one.
        most_returns: after which a person has to say so.
        port: of 127.0.0.1, for the metrics.
        ring_bytes: of the ring buffer between kernel and agent, a power of two.
    """

    mode: str
    predictor: str
    slice_min_us: int
    slice_max_us: int
    preempt_us: int
    ignore_cpu_quotas: bool
    learning: bool
    retrain_hours: int
    margin: float
    samples_per_second: int
    latency_factor: float
    latency_floor_ms: int
    longest_wait_ms: int
    retry_seconds: int
    most_returns: int
    port: int
    ring_bytes: int


# Smallest and largest of each number. The kernel returns to EEVDF by itself when a task waits for 10 s.
_RANGES: dict[str, tuple[float, float]] = {
    "slice_min_us": (100, 1_000_000),
    "slice_max_us": (100, 1_000_000),
    "preempt_us": (0, 1_000_000),
    "retrain_hours": (1, 10_000),
    "margin": (0.0, 0.9),
    "samples_per_second": (1, 10_000),
    "latency_factor": (1.0, 1000.0),
    "latency_floor_ms": (1, 10_000),
    "longest_wait_ms": (10, 10_000),
    "retry_seconds": (1, 86_400),
    "most_returns": (1, 100),
    "port": (1, 65535),
    "ring_bytes": (65536, 1 << 28),
}
_CHOICES = {"mode": MODES, "predictor": PREDICTORS}


def load_settings(path: Path) -> Settings:
    """Read the file.

    Raises:
        SettingsError: it is missing, no TOML, or has faults; all of them are told.
    """
    values = read_values(path)
    problems = faults(values, Settings, _RANGES, _complaint)
    if not problems and values["slice_min_us"] > values["slice_max_us"]:
        problems = [f"slice_min_us = {values['slice_min_us']}: is above slice_max_us = {values['slice_max_us']}"]
    refuse(path, problems)
    return Settings(**values)


def _complaint(name: str, value: object) -> str:
    if name in _CHOICES and value not in _CHOICES[name]:
        return f"is to be one of {', '.join(_CHOICES[name])}"
    return "is to be a power of two" if name == "ring_bytes" and value & (value - 1) else ""
