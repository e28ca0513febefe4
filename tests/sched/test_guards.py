"""What is too long a wait, and when our scheduler is tried again."""

from __future__ import annotations

import json

import pytest
from lichen_sched.guards import LEAST, PATIENCE, Delays, Limits, Returns, band, longest, quantile
from lichen_sched.layout import BUCKETS, bucket

LIMITS = Limits(factor=3.0, floor=0.02, longest=3.0)


def delays(count: int, milliseconds: float, **more: float) -> list[int]:
    """A histogram."""
    counts = [0] * BUCKETS
    counts[bucket(int(milliseconds * 1e6))] += count
    for _, slower in more.items():
        counts[bucket(int(slower * 1e6))] += 1
    return counts


def test_quantile_is_from_above_by_a_quarter_at_most() -> None:
    for milliseconds in (0.0, 0.01, 0.7, 1.0, 33.3, 4000.0):
        found = quantile(delays(1000, milliseconds), 0.99) * 1000
        assert milliseconds <= found <= max(milliseconds, 0.001) * 1.2501
    assert quantile([0] * BUCKETS, 0.99) == 0


def test_quantile_leaves_the_slowest_out() -> None:
    counts = delays(199, 1.0, one=500.0)
    assert quantile(counts, 0.99) < 0.0013
    assert 0.5 <= longest(counts) <= 0.63


def test_without_measurement_the_floor_counts() -> None:
    guard = Delays(LIMITS)
    assert guard.limit(0.0) == 0.02


def test_limit_is_of_the_band_or_the_next_lower_one() -> None:
    guard = Delays(LIMITS)
    guard.measure(delays(1000, 10), 0.0)
    guard.measure(delays(1000, 100), 60.0)
    assert 0.03 <= guard.limit(3.0) <= 0.0376
    assert guard.limit(30.0) == guard.limit(3.0)
    assert 0.3 <= guard.limit(60.0) == guard.limit(99.0) <= 0.376


def test_too_few_delays_say_nothing() -> None:
    guard = Delays(LIMITS)
    guard.measure(delays(LEAST - 1, 10), 0.0)
    assert guard.looks == 0
    for _ in range(10):
        assert guard.judge(delays(LEAST - 1, 100), 0.0) == ""


def test_long_delays_in_a_row_are_a_reason_and_a_single_look_is_none() -> None:
    guard = Delays(LIMITS)
    guard.measure(delays(1000, 1), 0.0)
    bad, good = delays(1000, 100), delays(1000, 1)
    told = [guard.judge(counts, 0.0) for counts in (bad, bad, good, bad, bad, bad)]
    assert told[:-1] == [""] * 5
    assert "ms with a limit of 20.0 ms" in told[-1]
    assert f"{PATIENCE} times in a row" in told[-1]


def test_single_long_wait_is_a_reason_at_once() -> None:
    guard = Delays(LIMITS)
    assert "limit is 3 s" in guard.judge(delays(10, 1, one=5000.0), 0.0)
    assert guard.judge(delays(10, 1, one=2000.0), 0.0) == ""


def test_bands() -> None:
    assert [band(pressure) for pressure in (0, 4.9, 5, 20, 50, 80, 100)] == [0, 0, 1, 2, 3, 4, 4]


def test_wait_doubles_until_a_person_has_to_say_so() -> None:
    returns = Returns(60.0, 3)
    waits = []
    for number in range(3):
        returns.happened(1000.0, f"reason {number}")
        waits.append(returns.until - 1000)
    assert waits == [60, 120, 240]
    assert returns.given_up
    returns.forget()
    assert not returns.given_up
    assert returns.until == 0
    assert [reason for _, reason in returns.reasons] == ["reason 0", "reason 1", "reason 2"]


def test_a_day_of_good_service_is_forgiveness() -> None:
    returns = Returns(60.0, 3)
    returns.happened(0.0, "x")
    returns.tried(100.0)
    returns.serves(80_000.0)
    assert returns.count == 1
    returns.serves(90_000.0)
    assert returns.count == 0


def test_what_is_kept_comes_back() -> None:
    returns, again = Returns(60.0, 3), Returns(60.0, 3)
    returns.happened(1000.0, "x")
    again.recall(json.loads(json.dumps(returns.to_json())), 1010.0)
    assert (again.count, again.until, again.reasons) == (1, 1060.0, [(1000.0, "x")])


def test_clock_that_went_back_makes_no_endless_wait() -> None:
    returns = Returns(60.0, 3)
    returns.recall({"count": 1, "until": 4e9, "reasons": []}, 1000.0)
    assert returns.until <= 1000 + 120


@pytest.mark.parametrize("kept", [{}, {"count": -1, "until": 0, "reasons": []}, {"count": 1, "until": 1, "reasons": 5}])
def test_damaged_is_told(kept: dict[str, object]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        Returns(60.0, 3).recall(kept, 0.0)
