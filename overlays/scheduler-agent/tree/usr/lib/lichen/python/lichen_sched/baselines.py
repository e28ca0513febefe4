"""What a model has to be better than: the predictors that the kernel computes without any learning."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .layout import FEATURE_NAMES, LEAST, MOST, log2

# Nanoseconds; before any burst was seen.
CONSTANT = 1_000_000
_LAST, _EWMA = FEATURE_NAMES.index("last"), FEATURE_NAMES.index("ewma")


def constant_of(bursts: np.ndarray) -> int:
    """The burst with the smallest mean error of logarithms: the median, nanoseconds."""
    return int(np.median(bursts)) if len(bursts) else CONSTANT


def baselines(features: np.ndarray, constant: int) -> Mapping[str, np.ndarray]:
    """Predictions of each baseline, logarithms in fixed point, as the kernel has them.

    Args:
        constant: nanoseconds; for tasks that nothing is known of, too.
    """
    fixed = log2(constant)
    # No burst is so short that its logarithm is 0: that stands for none.
    known = features[:, _LAST] > 0
    predicted = {
        "constant": np.full(len(features), fixed),
        "last": np.where(known, features[:, _LAST], fixed),
        "ewma": np.where(known, features[:, _EWMA], fixed),
    }
    return {name: np.clip(values, LEAST, MOST) for name, values in predicted.items()}
