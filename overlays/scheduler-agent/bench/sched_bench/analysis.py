"""Ratios to the reference, paired in blocks, with intervals; nothing here measures anything."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .measures import MEASURES, Measure

CONFIDENCE = 0.95
# Ratios within it count as the same: less is of no use to anybody, and below what a machine repeats.
MARGIN = 0.05
# Quantiles of Student's distribution at 97.5 %, for 1, 2, 3, ... degrees of freedom. The agent's lichen_agent.intervals
# has them, too; this module is also used where the agent is not installed.
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
FEWEST = 2  # pairs that an interval needs
LARGEST = 700.0  # natural logarithm of a ratio
# Verdicts that say that there is a difference, and those of comparisons that have no interval.
DIFFERENT, UNJUDGED = ("better", "worse", "more", "fewer"), ("no pairs", "one pair")


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


def interval(pairs: Sequence[tuple[float, float]]) -> Interval | None:
    """The ratio of the first to the second of each pair: geometric mean, and Student's interval of the logarithms.

    It holds the truth as often as :data:`CONFIDENCE` says from two pairs on, if the logarithms are normally
    distributed. A bootstrap does not: two pairs can be drawn in three ways only, and its interval ends at the pairs
    themselves, which are on both sides of the truth half of the time.

    Pairs with a number that is not positive do not count; None where none is left.
    """
    logs = [math.log(ours / reference) for ours, reference in pairs if ours > 0 and reference > 0]
    if not logs:
        return None
    centre, degrees = statistics.fmean(logs), len(logs) - 1
    if len(logs) < FEWEST:
        return Interval(math.exp(centre), None, None, len(logs))
    student = STUDENT[degrees - 1] if degrees <= len(STUDENT) else 1.96 + 2.5 / degrees
    half = student * statistics.stdev(logs) / math.sqrt(len(logs))
    # Two pairs that contradict one another allow ratios that no float holds.
    low, high = (math.exp(max(-LARGEST, min(LARGEST, end))) for end in (centre - half, centre + half))
    return Interval(math.exp(centre), low, high, len(logs))


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


def compare(runs: Iterable[Mapping[str, Any]]) -> list[Comparison]:
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
        ratio = interval(pairs)
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
