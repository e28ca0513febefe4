"""How well scores tell two sorts of windows apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Auroc:
    """Chance that an attack's window has a higher score than a normal one, ties counted half.

    Attributes:
        attacks, normal: number of windows of each.
        error: standard error (Hanley and McNeil 1982).
    """

    value: float
    attacks: int
    normal: int
    error: float


def auroc(scores: Sequence[float] | np.ndarray, labels: Sequence[bool] | np.ndarray) -> Auroc:
    """Area under the ROC curve by ranks; ``labels`` are true for attacks.

    Raises:
        ValueError: one of the two sorts is missing, or a score is no number.
    """
    scores, labels = np.asarray(scores, np.float64), np.asarray(labels, bool)
    attacks, normal = int(labels.sum()), int((~labels).sum())
    if not attacks or not normal or not np.isfinite(scores).all():
        raise ValueError(f"{attacks} attacks and {normal} normal windows: both sorts and finite scores are needed")
    _, group, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks = (ends - (counts - 1) / 2)[group.reshape(-1)]
    value = float((ranks[labels].sum() - attacks * (attacks + 1) / 2) / (attacks * normal))
    q1, q2 = value / (2 - value), 2 * value**2 / (1 + value)
    variance = value * (1 - value) + (attacks - 1) * (q1 - value**2) + (normal - 1) * (q2 - value**2)
    return Auroc(value, attacks, normal, math.sqrt(max(0.0, variance) / (attacks * normal)))
