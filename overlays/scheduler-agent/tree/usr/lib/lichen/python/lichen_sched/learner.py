"""A process that learns and ends: samples come in, a model goes out."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np
from lichen_agent.apart import work

from .baselines import baselines, constant_of
from .comparison import compare, mean_error
from .ensemble import Ensemble, EnsembleError, ensemble_of, exported
from .layout import DEPTH, FRACTION, TREES
from .model import SEAL, Model, ModelError
from .samples import SAMPLE, logarithms, split

ORDER = "lichen-sched-order-1"
# Fewer say nothing about held-out ones.
LEAST = 400
RATE = 0.2


def learn(samples: np.ndarray, before: Ensemble | None, now: float, seed: int) -> Model:
    """Learn from the older samples and try on the newer ones.

    Args:
        samples: in the order of time.
        before: the ensemble in force.
        now: seconds since 1970.

    Raises:
        ModelError: too few samples.
        ImportError: scikit-learn is not here.
    """
    if len(samples) < LEAST:
        raise ModelError(f"{len(samples)} samples are too few to learn from; {LEAST} are the least")
    old, new = split(samples)
    ensemble, constant = grow(old, seed), constant_of(old["burst"])
    features = new["features"]
    tried = compare(ensemble.predict(features), baselines(features, constant), new["burst"], seed)
    error = mean_error(before.predict(features), new["burst"]) if before else float("nan")
    return Model(ensemble, constant, tried, error, len(old), now)


def grow(samples: np.ndarray, seed: int) -> Ensemble:
    """An ensemble of trees as many and as deep as the kernel takes.

    Raises:
        ImportError: scikit-learn is not here.
    """
    from sklearn.ensemble import GradientBoostingRegressor

    fitted = GradientBoostingRegressor(
        # What it is tried by. A burst of a thousand times the usual length shall not bend the others' predictions.
        loss="absolute_error",
        n_estimators=TREES,
        max_depth=DEPTH,
        learning_rate=RATE,
        subsample=0.5,
        min_samples_leaf=max(5, len(samples) // 500),
        random_state=seed,
    )
    fitted.fit(samples["features"], logarithms(samples["burst"]) / (1 << FRACTION))
    return exported(fitted)


def task(order: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """Learn.

    Raises:
        ModelError: it cannot be done from these samples.
    """
    before = ensemble_of(order["nodes"], int(order["base"])) if "nodes" in order else None
    samples = np.zeros(len(order["bursts"]), SAMPLE)
    samples["features"], samples["burst"] = order["features"], order["bursts"]
    return learn(samples, before, time.time(), int(order["seed"])).arrays()


if __name__ == "__main__":
    work(ORDER, SEAL, task, ModelError, EnsembleError)
