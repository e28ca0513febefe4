"""The workloads' own arithmetic, without processes and cgroups."""

from __future__ import annotations

import socket
from itertools import count
from types import SimpleNamespace

import pytest
from sched_bench.work import fairness, inference


def test_request_without_a_response_counts_with_what_it_has_waited() -> None:
    """99 were answered at once, two never: the 99th percentile is theirs."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        client = inference.Client([ours])
        client.took = [0.001] * 99
        client.send(due=100.0)
        client.send(due=103.0)
        found = inference.measured(client, now=108.0, seconds=10.0)
    assert found["unanswered"] == 2
    assert found["throughput"] == 9.9
    assert found["responses"] == 101
    assert found["response_p50_ms"] == 1
    assert found["response_p99_ms"] == 5000


def burst_lengths(seed: int, number: int, patch: pytest.MonkeyPatch) -> list[int]:
    """Steps of the bursts that a process of the user ``bursty`` makes in ten looks at the clock."""
    steps: list[int] = []
    clock = count()
    patch.setattr(fairness, "spin", steps.append)
    patch.setattr(fairness, "time", SimpleNamespace(sleep=lambda _: None, monotonic=lambda: float(next(clock))))
    fairness.bursts(seed, number)(10.0)
    return steps


def test_bursts_are_each_processes_own_and_the_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [burst_lengths(1, number, monkeypatch) for number in range(4)]
    assert len(set(map(tuple, found))) == 4
    assert len(found[0]) == 10
    assert burst_lengths(1, 2, monkeypatch) == found[2]
    assert burst_lengths(2, 2, monkeypatch) != found[2]
