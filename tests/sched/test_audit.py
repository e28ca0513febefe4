"""Fairness in numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from lichen_sched.audit import Share, audit, jain, since

from tests.sched.making import made_samples

PATHS = {1: "/a.slice/x.service", 2: "/a.slice/y.service", 3: "/b.slice", 9: ""}
WEIGHTS = {"/a.slice": 100, "/b.slice": 200, "/a.slice/x.service": 100, "/a.slice/y.service": 300}


def share(
    cgroup: int, ran: float, waited: float = 10.0, uid: int = 1000, bursts: int = 100, bias: float = 0.0
) -> Share:
    return Share(cgroup, uid, ran, waited, 0.5, bursts, abs(bias) * bursts, bias * bursts)


def report(shares: list[Share], samples: np.ndarray | None = None, seconds: float = 10.0) -> Any:
    found = made_samples(0) if samples is None else samples
    return audit(shares, found, lambda number: PATHS.get(number, ""), lambda path: WEIGHTS.get(path, 100), seconds)


def predicted(cgroup: int, count: int, bias: float, seed: int = 0) -> np.ndarray:
    samples = made_samples(count, "noise", seed)
    samples["cgroup"], samples["uid"] = cgroup, 1000 + cgroup
    samples["predicted"] = (np.log2(samples["burst"].astype(float)) + bias) * 256
    return samples


def test_jain() -> None:
    assert jain([]) == jain([0.0, 0.0]) == 1
    assert jain([3, 3, 3]) == pytest.approx(1)
    assert jain([1, 0, 0, 0]) == pytest.approx(0.25)


@given(some.lists(some.floats(0.001, 1e6), min_size=1, max_size=20))
def test_jain_lies_between_its_bounds(values: list[float]) -> None:
    assert 1 / len(values) - 1e-9 <= jain(values) <= 1 + 1e-9


def test_shares_by_weight_are_fair() -> None:
    found = report([share(1, 10), share(2, 30), share(3, 80)])
    groups = {group["parent"]: group for group in found["siblings"]}
    assert set(groups) == {"/", "/a.slice"}
    assert groups["/a.slice"]["jain"] == pytest.approx(1)
    assert groups["/"]["ran_per_weight"] == {"/a.slice": pytest.approx(0.4), "/b.slice": pytest.approx(0.4)}


def test_shares_against_weight_are_unfair() -> None:
    found = report([share(1, 30), share(2, 10)])
    (group,) = found["siblings"]
    assert group["jain"] == pytest.approx((0.3 + 10 / 300) ** 2 / (2 * (0.09 + (10 / 300) ** 2)))
    assert group["jain"] < 0.7


def test_who_never_waits_is_not_compared() -> None:
    assert report([share(1, 10, waited=0.1), share(2, 1)])["siblings"] == []


def test_light_service_beside_a_heavy_one_is_no_unfairness() -> None:
    """It had to wait whenever it wanted something, and wanted little."""
    light, heavy = share(1, 1, waited=0.5), share(3, 250, waited=200)
    assert report([light, heavy], seconds=300)["siblings"] == []
    (group,) = report([light, share(2, 60, waited=240), heavy], seconds=300)["siblings"]
    assert group["ran_per_weight"] == {"/a.slice": pytest.approx(0.61), "/b.slice": pytest.approx(1.25)}


def test_users_are_summed_over_cgroups() -> None:
    found = report([share(1, 10, uid=7), share(2, 5, uid=7), share(3, 1, uid=8)])
    assert [(row["uid"], row["ran"], row["bursts"]) for row in found["users"]] == [(7, 15, 200), (8, 1, 100)]


def test_bias_of_one_is_found() -> None:
    samples = np.concatenate([predicted(1, 500, 0.0), predicted(2, 500, 0.1, 1), predicted(3, 100, 2.0, 2)])
    found = report([share(number, 10, uid=1000 + number) for number in (1, 2, 3)], samples)
    assert [row.get("cgroup", row.get("uid")) for row in found["different"]] == ["/b.slice", 1003]
    row = found["different"][0]
    assert row["differs"] == 1
    assert row["bias_interval"] == pytest.approx([2, 2], abs=0.01)


def test_bias_of_few_bursts_is_not_told() -> None:
    samples = np.concatenate([predicted(1, 500, 0.0), predicted(3, 10, 5.0)])
    found = report([share(1, 10, uid=1001), share(3, 10, uid=1003)], samples)
    assert found["different"] == []
    assert found["cgroups"][1]["bias_interval"] is None


def test_bias_shorter_than_others() -> None:
    samples = np.concatenate([predicted(1, 500, 0.0), predicted(3, 100, -2.0)])
    found = report([share(1, 10, uid=1001), share(3, 10, uid=1003)], samples)
    assert [row["differs"] for row in found["different"]] == [-1, -1]


def test_vanished_cgroup_keeps_its_number() -> None:
    assert report([share(9, 1)])["cgroups"][0]["cgroup"] == "(9)"


def test_bias_and_wait_go_together() -> None:
    rising = [share(100 + n, 10, waited=float(n), bias=n / 10) for n in range(1, 7)]
    assert report(rising)["bias_and_wait"] == {"cgroups": 6, "correlation": pytest.approx(1)}
    assert report(rising[:4])["bias_and_wait"] is None
    assert report([share(100 + n, 10) for n in range(6)])["bias_and_wait"] is None


def test_nothing_at_all() -> None:
    found = report([])
    assert (found["cgroups"], found["siblings"], found["different"], found["bias"]) == ([], [], [], 0)
    assert report([Share(1, 0, 0.0, 0.0, 0.0, 0, 0.0, 0.0)])["cgroups"][0]["wait_per_run"] == 0


def test_difference_of_two_looks() -> None:
    before, now = (
        [share(1, 10), share(2, 10)],
        [share(1, 12, waited=11.0, bursts=110), share(2, 1, bursts=5), share(3, 4)],
    )
    found = {s.cgroup: s for s in since(now, before)}
    assert (found[1].ran, found[1].waited, found[1].bursts) == (2, 1, 10)
    # The kernel had forgotten it meanwhile.
    assert found[2].ran == 1
    assert found[3].ran == 4
    assert since(before, before) == []
