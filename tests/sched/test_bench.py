"""The comparison on the machine itself, and intervals."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Mapping
from typing import Any

import pytest
from lichen_agent.intervals import interval, ratio
from lichen_sched.bench import MEASURES, BenchError, ratios, run_bench
from lichen_sched.load import run_load


def test_interval_covers_as_often_as_it_says() -> None:
    chance = random.Random(0)
    hits = 0
    for _ in range(2000):
        found = interval([chance.gauss(5, 2) for _ in range(5)])
        hits += found.low <= 5 <= found.high
    assert 0.935 <= hits / 2000 <= 0.965


def test_interval_of_many_is_the_normal_ones() -> None:
    chance = random.Random(0)
    values = [chance.gauss(0, 1) for _ in range(500)]
    found = interval(values)
    half = 1.9647 * statistics.stdev(values) / math.sqrt(500)
    assert found.high - found.mean == pytest.approx(half, rel=1e-3)


def test_single_value_says_nothing_of_chance() -> None:
    assert interval([3.0]) == (3.0, -math.inf, math.inf)
    assert ratio([(1.0, 2.0)]).high > 1e300


def test_ratio_is_geometric() -> None:
    found = ratio([(1.0, 2.0), (2.0, 1.0)])
    assert found.mean == pytest.approx(1)
    assert found.low < 1 < found.high
    assert ratio([(1, 3)] * 4) == pytest.approx((3, 3, 3))


class MadeUpAgent:
    """Does what it is asked, until it does not."""

    def __init__(self, ends_after: int = 10**6) -> None:
        self.mode, self.asked, self.ends_after = "observe", list[Mapping[str, Any]](), ends_after

    def __call__(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        self.asked.append(request)
        if request["command"] == "trial":
            self.mode = request["mode"] or "observe"
        if len(self.asked) > self.ends_after:
            self.mode = "observe"
        return {"mode": self.mode, "why": "a reason"}


def load_of(agent: MadeUpAgent) -> Any:
    return lambda seconds: dict.fromkeys(MEASURES, 2.0 if agent.mode == "active" else 1.0)


def test_each_round_has_both_in_an_order_by_chance() -> None:
    agent = MadeUpAgent()
    phases = list(run_bench(agent, 20, 0.001, 3, load_of(agent)))
    pairs = [(phases[n]["mode"], phases[n + 1]["mode"]) for n in range(0, 40, 2)]
    assert {frozenset(pair) for pair in pairs} == {frozenset({"observe", "active"})}
    assert len(set(pairs)) == 2
    again = list(run_bench(MadeUpAgent(), 20, 0.001, 3, lambda seconds: dict.fromkeys(MEASURES, 1.0)))
    assert [phase["mode"] for phase in again] == [phase["mode"] for phase in phases]
    assert ratios(phases)["late_p99"] == pytest.approx((2, 2, 2))
    assert agent.asked[-1] == {"command": "trial", "mode": ""}


def test_scheduler_that_ended_meanwhile_spoils_the_measurement() -> None:
    agent = MadeUpAgent(ends_after=1)
    with pytest.raises(BenchError, match="a reason"):
        list(run_bench(agent, 2, 0.001, 3, load_of(agent)))
    assert agent.asked[-1]["mode"] == ""


def test_scheduler_that_cannot_be_had() -> None:
    def stubborn(request: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"mode": "observe", "why": "this kernel has no sched_ext"}

    with pytest.raises(BenchError, match=r"active cannot be had: this kernel has no sched_ext"):
        list(run_bench(stubborn, 2, 0.001, 3, lambda seconds: dict.fromkeys(MEASURES, 1.0)))


def test_load_is_work() -> None:
    found = run_load(0.5)
    assert found["hashes_per_second"] > 10
    assert found["handovers_per_second"] > 10
    assert 0 <= found["late_p50"] <= found["late_p99"] <= found["late_max"]
