"""Ratios to the reference, paired in blocks, with intervals; nothing here measures anything."""

from __future__ import annotations

import math
import random
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .measures import MEASURES, Measure

CONFIDENCE = 0.95
RESAMPLES = 4000
# Ratios within it count as the same: less is of no use to anybody, and below what a machine repeats.
MARGIN = 0.05
# Quantiles of Student's distribution at 97.5 %, for 1, 2, 3, ... degrees of freedom.
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
FEWEST = 2  # pairs that an interval needs


@dataclass(frozen=True)
class Interval:
    """A mean of logarithms, as a ratio, and where it may be; without ``low`` and ``high`` where one cannot say."""

    ratio: float
    low: float | None
    high: float | None
    pairs: int


@dataclass(frozen=True)
class Comparison:
    """A configuration against the reference for one measure of one workload.

    Attributes:
        median: of the configuration, in the measure's unit.
        interval: of the ratio to the reference; None where there is no pair of positive numbers.
        verdict: ``better``, ``worse`` (``more``, ``fewer`` where neither way is better), ``same``: within
            :data:`MARGIN`, ``undecided``: the interval allows more than one of them, ``no pairs``, ``one pair``.
        without: pairs that could not be used.
    """

    workload: str
    configuration: str
    measure: str
    median: float
    interval: Interval | None
    verdict: str
    without: int


def jain(values: Sequence[float]) -> float | None:
    """Jain's fairness index: 1 when all get the same, 1/n when one gets all; None of nothing."""
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else None


def geometric_mean(values: Iterable[float]) -> float:
    """Of positive values."""
    return math.exp(statistics.fmean(math.log(value) for value in values))


def expanded_tail(count: int) -> float:
    """The share to cut off at each end of a bootstrap distribution of the mean of ``count`` values.

    A percentile interval of few values is too narrow: it takes their own spread for the whole one, and the normal
    distribution for Student's. Cutting off less makes up for both (Hesterberg, What Teachers Should Know About the
    Bootstrap, 2015, section 5.1).
    """
    degrees = count - 1
    student = STUDENT[degrees - 1] if degrees <= len(STUDENT) else 1.96 + 2.5 / degrees
    return statistics.NormalDist().cdf(-math.sqrt(count / degrees) * student)


def interval(pairs: Sequence[tuple[float, float]], seed: int = 0) -> Interval | None:
    """The ratio of the first to the second of each pair: geometric mean and its bootstrap interval.

    Pairs with a number that is not positive do not count; None where none is left.
    """
    logs = [math.log(ours / reference) for ours, reference in pairs if ours > 0 and reference > 0]
    if not logs:
        return None
    centre = statistics.fmean(logs)
    if len(logs) < FEWEST:
        return Interval(math.exp(centre), None, None, len(logs))
    chance = random.Random(seed)  # noqa: S311
    count = len(logs)
    means = sorted(sum(chance.choices(logs, k=count)) / count for _ in range(RESAMPLES))
    tail = expanded_tail(count)
    low = means[math.floor(tail * RESAMPLES)]
    high = means[min(RESAMPLES - 1, math.ceil((1 - tail) * RESAMPLES) - 1)]
    return Interval(math.exp(centre), math.exp(low), math.exp(high), len(logs))


def verdict(found: Interval | None, measure: Measure) -> str:
    """What an interval says; see :class:`Comparison`."""
    if found is None:
        return "no pairs"
    if found.low is None or found.high is None:
        return "one pair"
    if found.low >= 1 / (1 + MARGIN) and found.high <= 1 + MARGIN:
        return "same"
    if found.low <= 1 <= found.high:
        return "undecided"
    rises = found.low > 1
    if not measure.better:
        return "more" if rises else "fewer"
    return "better" if rises == (measure.better == "higher") else "worse"


def series(runs: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str, str], dict[int, float]]:
    """(workload, configuration, measure) -> block -> value, of runs without a fault."""
    found: dict[tuple[str, str, str], dict[int, float]] = defaultdict(dict)
    for run in runs:
        if run.get("fault"):
            continue
        for name, value in run.get("values", {}).items():
            if name in MEASURES and isinstance(value, (int, float)) and math.isfinite(value):
                found[run["workload"], run["configuration"], name][run["block"]] = float(value)
    return found


def compare(runs: Iterable[Mapping[str, Any]], seed: int = 0) -> list[Comparison]:
    """Every configuration against the measure's reference, for each workload and measure that both have."""
    found = series(runs)
    order = list(MEASURES)
    comparisons = []
    for workload, configuration, name in sorted(found, key=lambda key: (key[0], order.index(key[2]), key[1])):
        ours, reference = found[workload, configuration, name], MEASURES[name].reference
        theirs = found.get((workload, reference, name), {})
        if configuration == reference or not theirs:
            continue
        pairs = [(ours[block], theirs[block]) for block in sorted(ours.keys() & theirs.keys())]
        ratio = interval(pairs, seed)
        blocks = len(ours.keys() | theirs.keys())
        without = blocks - (ratio.pairs if ratio else 0)
        said = verdict(ratio, MEASURES[name])
        comparisons.append(
            Comparison(workload, configuration, name, statistics.median(ours.values()), ratio, said, without)
        )
    return comparisons


def medians(runs: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], float]:
    """(workload, measure) -> median of the measure's reference."""
    return {
        (workload, name): statistics.median(values.values())
        for (workload, which, name), values in series(runs).items()
        if which == MEASURES[name].reference
    }
