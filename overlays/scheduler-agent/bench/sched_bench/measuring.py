"""One run: a configuration set, the workload at work, the probe beside it, everything counted."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from . import outputs
from .configurations import Configuration
from .counters import Counters, between
from .histogram import kernel_quantile, quantile
from .tasks import Task, TaskError
from .workloads import Size, Workload

PATIENCE = 900.0  # seconds for a workload; an emulated machine is slow, one that hangs shall not hold up the rest
QUANTILES = {"p50": 0.5, "p99": 0.99, "p999": 0.999}


class Side(Protocol):
    """What sets a configuration for the time of a run; :class:`sched_bench.driver.Driver` or nothing."""

    def begin(self, root: int) -> None:
        """Put it in force; the workload is the process ``root`` and what it starts.

        Raises:
            TaskError: it cannot be.
        """

    def end(self) -> Mapping[str, Any]:
        """Take it back; what was seen meanwhile. ``fault`` when it was not in force all the time."""


class Nothing:
    """The kernel's own scheduler with nothing of ours."""

    def begin(self, root: int) -> None:
        """Nothing to do."""

    def end(self) -> Mapping[str, Any]:
        """Nothing was seen."""
        return {}


@dataclass(frozen=True)
class Run:
    """What is to be run."""

    workload: Workload
    configuration: Configuration
    size: Size


def measure(run: Run, side: Side) -> dict[str, Any]:
    """Measure one run: ``values`` by the names of measures, ``probe``, ``driver``, ``detail``; ``fault`` if it failed.

    A fault says why the values do not count; what was measured until then is kept beside it.
    """
    result: dict[str, Any] = {"began": time.time(), "values": {}}
    task = Task(run.workload.command(run.size), "work", batch=run.configuration.batch)
    probe = Task([sys.executable, "-m", "sched_bench.probe", "--seed", str(run.size.seed)], "probe")
    try:
        side.begin(task.pid)
        try:
            result |= _work(run, task, probe)
        finally:
            result["driver"] = dict(side.end())
    except (TaskError, outputs.OutputError) as error:
        result["fault"] = str(error)
    finally:
        task.kill()
        probe.kill()
    if fault := result.get("driver", {}).pop("fault", ""):
        result["fault"] = fault
    if "delays" in (seen := result.get("driver", {})):
        result["values"] |= _named(
            "kernel", {name: kernel_quantile(seen["delays"], q) for name, q in QUANTILES.items()}
        )
    return result


def _work(run: Run, task: Task, probe: Task) -> dict[str, Any]:
    probe.go()
    probe.ready(PATIENCE)
    with Counters() as counters:
        before, begin = counters.read(), time.monotonic()
        task.go()
        said = task.result(PATIENCE)
        took, after = time.monotonic() - begin, counters.read()
    found = json.loads(probe.result(PATIENCE))
    detail = dict(run.workload.read(said, run.size))
    latencies = _named("probe", {name: quantile(found["counts"], q) for name, q in QUANTILES.items()})
    values = {**detail, **between(before, after), **latencies}
    numbers = {name: value for name, value in values.items() if isinstance(value, (int, float))}
    return {"values": numbers, "seconds": took, "probe": found, "detail": detail}


def _named(prefix: str, quantiles: Mapping[str, float | None]) -> dict[str, float]:
    return {f"{prefix}_{name}_us": value for name, value in quantiles.items() if value is not None}
