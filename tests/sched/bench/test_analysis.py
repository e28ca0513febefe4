"""Numbers whose answers are known."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from sched_bench.analysis import Interval, compare, interval, jain, verdict
from sched_bench.histogram import bucket, counted, kernel_quantile, pooled, quantile
from sched_bench.measures import MEASURES

THROUGHPUT, LATENCY, SWITCHES = MEASURES["throughput"], MEASURES["probe_p99_us"], MEASURES["switches"]


def run(block: int, configuration: str, value: float, **more: Any) -> dict[str, Any]:
    return {
        "kind": "run",
        "block": block,
        "workload": "hackbench",
        "configuration": configuration,
        "values": {"throughput": value},
        **more,
    }


def test_ratio_of_known_pairs() -> None:
    """Twice in every block, whatever the block: no spread is left."""
    found = interval([(20.0, 10.0), (2.0, 1.0), (14.0, 7.0)])
    assert found
    assert (found.ratio, found.low, found.high, found.pairs) == (
        pytest.approx(2),
        pytest.approx(2),
        pytest.approx(2),
        3,
    )


def test_mean_is_geometric() -> None:
    found = interval([(2.0, 1.0), (1.0, 2.0)])
    assert found
    assert found.ratio == pytest.approx(1)


@pytest.mark.parametrize("count", [2, 3, 4, 5, 6, 10, 30])
def test_interval_holds_the_truth_as_often_as_it_says(count: int) -> None:
    """4000 times ``count`` pairs whose true ratio is 1.1: 95 % hold it, within four standard errors of that."""
    chance = random.Random(1)
    held = 0
    for _ in range(4000):
        found = interval([(1.1 * math.exp(chance.gauss(0, 0.1)), 1.0) for _ in range(count)])
        assert found
        assert found.low
        assert found.high
        held += found.low <= 1.1 <= found.high
    assert 0.936 <= held / 4000 <= 0.964


def test_pairs_that_contradict_one_another_allow_everything() -> None:
    """Their interval ends where a float does, not in an error."""
    found = interval([(1e300, 1.0), (1e-300, 1.0)])
    assert found
    assert found.low
    assert found.high
    assert found.low < 1e-300
    assert found.high > 1e300
    assert verdict(found, THROUGHPUT) == "undecided"


def test_one_pair_has_no_interval() -> None:
    found = interval([(3.0, 2.0)])
    assert found == Interval(pytest.approx(1.5), None, None, 1)
    assert verdict(found, THROUGHPUT) == "one pair"


@pytest.mark.parametrize("pairs", [[], [(0.0, 1.0)], [(1.0, 0.0)], [(-1.0, 1.0)]])
def test_what_has_no_ratio_is_none(pairs: list[tuple[float, float]]) -> None:
    assert interval(pairs) is None
    assert verdict(None, THROUGHPUT) == "no pairs"


@pytest.mark.parametrize(
    ("low", "high", "throughput", "latency", "switches"),
    [
        (1.1, 1.3, "better", "worse", "more"),
        (0.7, 0.9, "worse", "better", "fewer"),
        (0.98, 1.03, "same", "same", "same"),
        (1.01, 1.03, "same", "same", "same"),
        (0.8, 1.2, "undecided", "undecided", "undecided"),
        (1.02, 1.2, "better", "worse", "more"),
    ],
)
def test_verdicts(low: float, high: float, throughput: str, latency: str, switches: str) -> None:
    found = Interval(1.0, low, high, 5)
    assert [verdict(found, measure) for measure in (THROUGHPUT, LATENCY, SWITCHES)] == [throughput, latency, switches]


def test_pairs_are_of_the_same_block() -> None:
    """Blocks differ a hundredfold, the configurations by half; unpaired nothing would be seen."""
    runs = [run(block, "eevdf", 10.0**block) for block in range(5)]
    runs += [run(block, "lichen-ewma", 1.5 * 10.0**block) for block in range(5)]
    (found,) = compare(runs)
    assert found.verdict == "better"
    assert found.interval
    assert found.interval.ratio == pytest.approx(1.5)
    assert found.without == 0


def test_missing_faulty_and_broken_runs_do_not_count() -> None:
    runs = [run(block, "eevdf", 10.0) for block in range(4)]
    runs += [run(0, "lichen-ewma", 20.0), run(1, "lichen-ewma", 20.0), run(2, "lichen-ewma", math.nan)]
    runs += [run(3, "lichen-ewma", 99.0, fault="the scheduler was not in force to the end")]
    (found,) = compare(runs)
    assert found.interval
    assert (found.interval.pairs, found.without) == (2, 2)
    assert found.median == 20


def test_what_only_our_programs_measure_is_compared_with_the_observed() -> None:
    runs = [
        run(0, name, 1.0) | {"values": {"kernel_p99_us": value}}
        for name, value in (("eevdf-observed", 2.0), ("lichen-ewma", 1.0))
    ]
    (found,) = compare(runs)
    assert (found.configuration, found.verdict) == ("lichen-ewma", "one pair")
    assert found.interval
    assert found.interval.ratio == pytest.approx(0.5)


def test_nothing_to_compare_with_is_no_comparison() -> None:
    assert compare([run(0, "lichen-ewma", 1.0)]) == []
    assert compare([]) == []


def test_constant_zeros_have_no_ratio_but_are_told() -> None:
    (found,) = compare([run(block, name, 0.0) for block in range(3) for name in ("eevdf", "lichen-ewma")])
    assert (found.interval, found.verdict, found.without) == (None, "no pairs", 3)


def test_jain() -> None:
    assert jain([2.0, 2.0, 2.0]) == pytest.approx(1)
    assert jain([1.0, 0.0, 0.0, 0.0]) == pytest.approx(0.25)
    assert jain([]) is None
    assert jain([0.0, 0.0]) is None


def test_quantiles_of_the_histogram_are_close() -> None:
    chance = random.Random(3)
    delays = [int(1000 * math.exp(chance.gauss(4, 1))) for _ in range(20000)]
    found = counted(delays)
    for share in (0.5, 0.99, 0.999):
        exact = sorted(delays)[int(share * len(delays))] / 1000
        assert quantile(found, share) == pytest.approx(exact, rel=0.03)


def test_histograms_add_up() -> None:
    one, two = counted([1000, 2000]), counted([2000, 4_000_000])
    assert pooled([one, two]) == counted([1000, 2000, 2000, 4_000_000])
    assert quantile({}, 0.5) is None


@pytest.mark.parametrize("delay", [-5, 0, 1, 999, 1000])
def test_what_is_below_a_microsecond_is_in_the_first_bucket(delay: int) -> None:
    assert bucket(delay) == 0


def test_quantiles_of_the_kernels_histogram() -> None:
    """Bucket 4 e + q begins at 2^e (1 + q/4) microseconds."""
    counts = [0] * 96
    counts[4 * 3 + 2] = 100  # 12 to 14 us
    assert kernel_quantile(counts, 0.5) == pytest.approx(13)
    counts[4 * 10] = 1
    assert kernel_quantile(counts, 0.999) == pytest.approx(1024 * 1.1, rel=0.15)
    assert kernel_quantile([0] * 96, 0.5) is None
