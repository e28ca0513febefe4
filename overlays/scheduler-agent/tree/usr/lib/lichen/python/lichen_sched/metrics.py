"""What Prometheus may ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge

from .guards import longest, quantile
from .settings import MODES, PREDICTORS

SHARES = {"0.5": 0.5, "0.99": 0.99, "0.999": 0.999}


class Metrics:
    """The agent's metrics."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        told = {"registry": self.registry, "namespace": "lichen_sched"}
        self.mode = Gauge("mode", "1 for the mode in force", ["mode"], **told)
        self.supported = Gauge("supported", "Whether the kernel can have our scheduler", **told)
        self.predictor = Gauge("predictor", "1 for what predicts", ["predictor"], **told)
        self.version = Gauge("model_version", "Number of the model in force, 0 for none", **told)
        self.error = Gauge(
            "prediction_error",
            "Mean of |log2 predicted - log2 actual| when the model in force was tried",
            ["predictor"],
            **told,
        )
        self.delay = Gauge(
            "delay", "Wait for a processor within the last look, from above", ["quantile"], unit="seconds", **told
        )
        self.longest = Gauge("longest_delay", "Of the last look, from above", unit="seconds", **told)
        self.limit = Gauge("delay_limit", "99th percentile above which EEVDF returns", unit="seconds", **told)
        self.kernel = Counter("kernel_events", "What the kernel's programs counted", ["event"], **told)
        self.samples = Counter("samples", "Bursts that the agent took in", **told)
        self.models = Counter("models", "What became of learned models", ["outcome"], **told)
        self.returns = Counter("returns", "Returns to EEVDF that nobody asked for", **told)
        self._totals: dict[tuple[int, str], float] = {}

    def raise_to(self, counter: Counter, label: str, total: float) -> None:
        """Bring one series of a counter to a total that is counted elsewhere. One that went down started anew."""
        key = id(counter), label
        before = self._totals.get(key, 0.0)
        self._totals[key] = total
        (counter.labels(label) if label else counter).inc(total - before if total >= before else total)

    def show_state(self, mode: str, predictor: str, version: int, errors: Mapping[str, float]) -> None:
        """Let this be what is in force."""
        for name in MODES:
            self.mode.labels(name).set(name == mode)
        for name in PREDICTORS[1:]:
            self.predictor.labels(name).set(name == predictor)
        self.version.set(version)
        for name, error in errors.items():
            self.error.labels(name).set(error)

    def show_delays(self, counts: Sequence[int], limit: float) -> None:
        """Let these be the delays of the last look."""
        for name, share in SHARES.items():
            self.delay.labels(name).set(quantile(counts, share))
        self.longest.set(longest(counts))
        self.limit.set(limit)
