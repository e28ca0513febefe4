"""What Prometheus may ask for."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector

from .pressure import Pressure
from .units import UNLIMITED, Knob


class Metrics:
    """The agent's metrics. Their labels are declared units, so their number is bounded."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        told = {"registry": self.registry, "namespace": "lichen_resources"}
        self.adjusting = Gauge("adjusting", "1 while values are adjusted, 0 while all are static", **told)
        self.changes = Counter("changes", "Changes made", ["unit", "knob", "actor"], **told)
        self.failures = Counter("failures", "Changes that systemd refused", ["unit", "knob"], **told)
        self.taken = Gauge("taken_over", "Knobs that somebody else has set, and that are left to him", **told)
        self.there = Gauge("unit_there", "Is the declared unit active?", ["unit", "role"], **told)
        labels = ["unit", "resource", "kind"]
        self.pressure = Gauge("pressure_percent", "Pressure of the last ten seconds, as PSI has it", labels, **told)
        self.value = Gauge("value", "What a knob is at; memory in bytes, +Inf for none", ["unit", "knob"], **told)
        # The agent's own processor time and memory.
        ProcessCollector(namespace="lichen_resources", registry=self.registry)

    def show(self, pressures: Mapping[str, Mapping[Knob, Pressure]], actual: Mapping[tuple[str, Knob], int]) -> None:
        """Let these be the only units with pressures and values."""
        self.pressure.clear()
        self.value.clear()
        for unit, resources in pressures.items():
            for resource, pressure in resources.items():
                self.pressure.labels(unit, resource, "some").set(pressure.some)
                self.pressure.labels(unit, resource, "full").set(pressure.full)
        for (unit, knob), value in actual.items():
            self.value.labels(unit, knob).set(float("inf") if value >= UNLIMITED else value)
