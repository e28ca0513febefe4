"""How well predictors do on bursts that none of them has seen, and whether the difference is more than chance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .layout import FRACTION
from .samples import logarithms

# Bursts of neighbours in time are alike, so whole stretches of time are drawn anew, not single bursts.
BLOCKS = 50
DRAWS = 1000


@dataclass(frozen=True)
class Comparison:
    """Errors of predictors on the same bursts: the mean of |log2 predicted - log2 actual|.

    Attributes:
        best: the baseline with the smallest error.
        gain: by which share of the best baseline's error the model's is smaller; below 0 it is larger.
        low, high: where the gain lies with 95 % confidence.
    """

    bursts: int
    errors: Mapping[str, float]
    best: str
    gain: float
    low: float
    high: float


def mean_error(predicted: np.ndarray, bursts: np.ndarray) -> float:
    """Mean of |log2 predicted - log2 actual|; predictions are logarithms in fixed point, bursts nanoseconds."""
    return float(_errors(predicted, bursts).mean())


def compare(model: np.ndarray, baselines: Mapping[str, np.ndarray], bursts: np.ndarray, seed: int = 0) -> Comparison:
    """Compare a model with baselines.

    Args:
        model, baselines: predictions, logarithms in fixed point.
        bursts: nanoseconds, in the order of time; at least one.
    """
    errors = {name: _errors(predicted, bursts) for name, predicted in baselines.items()}
    best = min(errors, key=lambda name: errors[name].mean())
    errors["trees"] = _errors(model, bursts)
    pieces = np.array_split(np.stack([errors["trees"], errors[best]]), min(BLOCKS, len(bursts)), axis=1)
    sums = np.array([piece.sum(axis=1) for piece in pieces])
    drawn = sums[np.random.default_rng(seed).integers(0, len(sums), (DRAWS, len(sums)))].sum(axis=1)
    low, high = np.quantile(_gain(*drawn.T), [0.025, 0.975])
    means = {name: float(values.mean()) for name, values in errors.items()}
    return Comparison(len(bursts), means, best, float(_gain(*sums.sum(axis=0))), float(low), float(high))


def _errors(predicted: np.ndarray, bursts: np.ndarray) -> np.ndarray:
    return np.abs(predicted - logarithms(bursts)) / (1 << FRACTION)


def _gain(model: np.ndarray, baseline: np.ndarray) -> np.ndarray:
    # Where the baseline never errs, nothing can be gained.
    return 1 - np.maximum(model, 1e-9) / np.maximum(baseline, 1e-9)
