"""What Prometheus may ask for."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

# Seconds, doubling: from what a fast machine takes to where nobody would call it at once any more.
BUCKETS = tuple(0.0005 * 2**step for step in range(15))


class Metrics:
    """The agent's metrics."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        told = {"registry": self.registry, "namespace": "lichen_guard"}
        self.events = Counter("events", "Events that the sensor told", ["kind"], **told)
        self.lost = Counter("lost_events", "Events that did not fit into the ring buffer", ["kind"], **told)
        self.alerts = Counter("alerts", "Alerts, those held back included", ["rule", "priority"], **told)
        self.held_back = Counter(
            "held_back_alerts", "Alerts not told because their rule had too many", ["rule"], **told
        )
        self.delivered = Counter("delivered_alerts", "Alerts that a place took", ["output"], **told)
        self.given_up = Counter("given_up_alerts", "Alerts that a place did not take", ["output"], **told)
        self.latency = Histogram(
            "latency", "From an event to the alert about it being told", unit="seconds", buckets=BUCKETS, **told
        )
        self.score = Gauge("anomaly_score", "Of each unit's last window, 0 to 1", ["unit"], **told)
        self.threshold = Gauge("anomaly_threshold", "Score above which a window is told; 1 while learning", **told)
        self.windows = Counter("windows", "Windows judged by the model", **told)
        self.anomalies = Counter("anomalies", "Windows told by the model", **told)
        self._totals: dict[tuple[int, str], float] = {}
        self._units: set[str] = set()

    def raise_to(self, counter: Counter, label: str, total: float) -> None:
        """Bring one series of a counter to a total that is counted elsewhere. One that went down started anew."""
        key = id(counter), label
        before = self._totals.get(key, 0.0)
        self._totals[key] = total
        (counter.labels(label) if label else counter).inc(total - before if total >= before else total)

    def show_scores(self, scores: Mapping[str, float]) -> None:
        """Let these be the only units with a score. Their number is bounded by who keeps them."""
        for unit in self._units - set(scores):
            self.score.remove(unit)
        for unit, score in scores.items():
            self.score.labels(unit).set(score)
        self._units = set(scores)
