"""Means with what chance may have added to them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

# Student's t: 97.5 % are below, for 1 to 30 degrees of freedom.
_T = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


class Interval(NamedTuple):
    """A mean, and where it lies with 95 % confidence."""

    mean: float
    low: float
    high: float


def interval(values: Sequence[float]) -> Interval:
    """Of independent values; of a single one nothing is known but itself."""
    count = len(values)
    mean = sum(values) / count
    if count < 2:
        return Interval(mean, -math.inf, math.inf)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (count - 1))
    freedom = count - 1
    t = _T[freedom - 1] if freedom <= len(_T) else 1.96 + 2.4 / freedom
    half = t * deviation / math.sqrt(count)
    return Interval(mean, mean - half, mean + half)


def ratio(pairs: Sequence[tuple[float, float]]) -> Interval:
    """Geometric mean of the ratios of second to first of pairs, all above 0."""
    found = interval([math.log(second / first) for first, second in pairs])
    return Interval(*(math.exp(min(value, 700.0)) for value in found))
