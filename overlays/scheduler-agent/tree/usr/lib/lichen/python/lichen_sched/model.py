"""A model: an ensemble, what it is for tasks that nothing is known of, and how it did when it was tried."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .baselines import baselines
from .comparison import Comparison, compare
from .ensemble import Ensemble, EnsembleError, ensemble_of
from .layout import FEATURE_NAMES

SEAL = "lichen-sched-model-1"
ERRORS = ("constant", "last", "ewma", "trees")


class ModelError(Exception):
    """There is no model to be had from this; the message says why."""


@dataclass(frozen=True)
class Model:
    """What a learner made.

    Attributes:
        constant: burst of tasks that nothing is known of, and of the baseline of that name, nanoseconds.
        tried: against the baselines, on the newest samples, which it did not learn from.
        before: error on the same samples of the model that was in force; NaN when there was none.
        samples: that it learned from.
        learned: seconds since 1970.
    """

    ensemble: Ensemble
    constant: int
    tried: Comparison
    before: float
    samples: int
    learned: float

    def compare(self, samples: np.ndarray, seed: int = 0) -> Comparison:
        """See how it does on samples in the order of time; at least one."""
        features = samples["features"]
        return compare(self.ensemble.predict(features), baselines(features, self.constant), samples["burst"], seed)

    def refused(self, margin: float) -> str:
        """Why it shall not be installed; "" when it shall.

        Args:
            margin: share of the best baseline's error that has to be gained, with 95 % confidence.
        """
        tried = self.tried
        if tried.low <= margin:
            gain = f"{tried.gain:+.1%}, with 95 % confidence {tried.low:+.1%} to {tried.high:+.1%}"
            return f"its gain over {tried.best} is {gain}; at least {margin:.1%} is wanted"
        if tried.errors["trees"] > self.before:
            return f"the model in force errs by {self.before:.3f}, the new one by {tried.errors['trees']:.3f}"
        return ""

    def arrays(self) -> Mapping[str, np.ndarray]:
        """What :func:`model_of` takes."""
        tried = self.tried
        numbers = [self.samples, self.learned, self.before, tried.bursts, tried.gain, tried.low, tried.high]
        return {
            "names": np.array(FEATURE_NAMES),
            "nodes": self.ensemble.nodes,
            "whole": np.array([self.ensemble.base, self.constant, ERRORS.index(tried.best)], np.int64),
            "numbers": np.array(numbers, np.float64),
            "errors": np.array([tried.errors[name] for name in ERRORS]),
        }


def model_of(arrays: Mapping[str, np.ndarray]) -> Model:
    """Make a model of saved arrays.

    Raises:
        ModelError: they are none, or of other features than ours.
    """
    try:
        if arrays["names"].tolist() != list(FEATURE_NAMES):
            raise ModelError("the model is of other features than this version has")
        base, constant, best = map(int, arrays["whole"])
        samples, learned, before, bursts, gain, low, high = map(float, arrays["numbers"])
        errors = dict(zip(ERRORS, map(float, arrays["errors"]), strict=True))
        ensemble = ensemble_of(arrays["nodes"], base)
    except (KeyError, ValueError, TypeError, EnsembleError) as error:
        raise ModelError(f"the model is not complete: {error}") from error
    if not 0 < constant < 1 << 63 or not 0 <= best < len(ERRORS):
        raise ModelError("the model's constant is no burst, or its best baseline is none")
    if not np.isfinite([samples, learned, bursts, gain, low, high, *errors.values()]).all():
        raise ModelError("a number of the model is not finite")
    tried = Comparison(int(bursts), errors, ERRORS[best], gain, low, high)
    return Model(ensemble, constant, tried, before, int(samples), learned)
