"""The audit of fairness: whether a policy that predicts treats anybody otherwise than by weight."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .analysis import Interval, interval
from .configurations import REFERENCE

WORKLOAD = "fairness"
FIXED_POINT = 256
WORK = "/lichen-bench/work"


@dataclass(frozen=True)
class Treatment:
    """What an owner got under a configuration.

    Attributes:
        owner: a cgroup of the workload, or a user's.
        share: processor time by weight, against the mean of all owners; 1 is what the weight says. Median of blocks.
        against: the same against the reference's, paired in blocks; its interval holds 1 when nothing changes.
        wait_ms: mean wait before a burst, or before going on with one; None where nobody measured it.
        bias: mean of predicted - actual log2 of bursts: above 0 they are thought longer than they are.
        bursts: that wait and bias are of.
    """

    configuration: str
    owner: str
    weight: int
    share: float
    against: Interval | None
    wait_ms: float | None
    bias: float | None
    bursts: int


@dataclass(frozen=True)
class Prediction:
    """How well a configuration predicted the bursts of a workload: mean of |predicted - actual| log2, and the bias."""

    workload: str
    configuration: str
    error: float
    bias: float
    bursts: int


def weighted_shares(run: Mapping[str, Any]) -> dict[str, float]:
    """Owner -> processor time by weight, 1 in the mean over owners; empty where a run has none."""
    owners = run.get("detail", {}).get("owners", [])
    by_weight = {row["owner"]: row["ran_us"] / row["weight"] for row in owners}
    mean = statistics.fmean(by_weight.values()) if by_weight else 0
    return {owner: value / mean for owner, value in by_weight.items()} if mean else {}


def treatments(runs: Iterable[Mapping[str, Any]]) -> list[Treatment]:
    """Every owner under every configuration, from the runs of the workload :data:`WORKLOAD`."""
    chosen = [run for run in runs if run["workload"] == WORKLOAD and not run.get("fault")]
    shares: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
    seen: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    weights: dict[str, int] = {}
    for run in chosen:
        for owner, share in weighted_shares(run).items():
            shares[run["configuration"], owner][run["block"]] = share
        for row in run.get("detail", {}).get("owners", []):
            weights[row["owner"]] = row["weight"]
            kernel = run.get("driver", {}).get("shares", [])
            seen[run["configuration"], row["owner"]] += [each for each in kernel if each["cgroup"] == row.get("cgroup")]
    found = []
    for (configuration, owner), by_block in sorted(shares.items()):
        reference = shares.get((REFERENCE, owner), {})
        pairs = [(by_block[block], reference[block]) for block in sorted(by_block.keys() & reference.keys())]
        against = interval(pairs) if configuration != REFERENCE else None
        share = statistics.median(by_block.values())
        rows = seen[configuration, owner]
        bursts = sum(row["bursts"] for row in rows)
        wait = sum(row["waited_ns"] for row in rows) / bursts / 1e6 if bursts else None
        bias = sum(row["bias"] for row in rows) / bursts / FIXED_POINT if bursts else None
        found.append(Treatment(configuration, owner, weights[owner], share, against, wait, bias, bursts))
    return found


def predictions(runs: Iterable[Mapping[str, Any]]) -> list[Prediction]:
    """How well each configuration predicted the bursts of the workload's own tasks, over all blocks.

    Those of the probe and of the machine's services are left out: they are more than the workload's and alike in all.
    """
    totals: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    for run in runs:
        if run.get("fault"):
            continue
        owners = {row.get("cgroup") for row in run.get("detail", {}).get("owners", [])}
        for row in run.get("driver", {}).get("shares", []):
            if row["cgroup"] not in owners and not row["path"].startswith(WORK):
                continue
            total = totals[run["workload"], run["configuration"]]
            for index, name in enumerate(("error", "bias", "bursts")):
                total[index] += row[name]
    return [
        Prediction(workload, configuration, error / bursts / FIXED_POINT, bias / bursts / FIXED_POINT, bursts)
        for (workload, configuration), (error, bias, bursts) in sorted(totals.items())
        if bursts
    ]


def conclusion(found: Iterable[Treatment], configuration: str) -> str:
    """In words: whom a configuration gives more or less by weight than the reference does, with 95 % confidence."""
    said, unknown = [], []
    for each in found:
        if each.configuration != configuration:
            continue
        if each.against is None or each.against.low is None or each.against.high is None:
            unknown.append(each.owner)
        elif not each.against.low <= 1 <= each.against.high:
            said.append(f"{each.owner} gets {each.against.ratio:.2f} of what it gets under {REFERENCE}")
    if unknown:
        return f"cannot be said for {', '.join(unknown)}: too few blocks"
    return "; ".join(said) or "nobody is seen to be treated otherwise"
