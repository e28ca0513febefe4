"""Does the scheduler treat anybody differently beyond their weights? Numbers by cgroup and by user."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
from lichen_agent.intervals import interval

from .layout import FRACTION
from .samples import logarithms

# Below this share of waiting to running a cgroup got all that it wanted: how much says nothing about fairness.
CONTENDED = 0.05
# Below this share of the time with a task that runs or waits it was not backlogged. Weights promise it nothing for the
# rest: it got little because it wanted little.
BACKLOGGED = 0.8
# A bias is told when it differs from everybody's by more than this, of base 2, and by more than chance.
NOTABLE = 0.5
BLOCKS, LEAST = 20, 40
FEWEST_OWNERS = 5


@dataclass(frozen=True)
class Share:
    """What one user's tasks in one cgroup got.

    Attributes:
        cgroup: number; ``ran``, ``waited``, ``longest``: seconds.
        error, bias: sums over bursts of |predicted - actual| and predicted - actual, of base 2.
    """

    cgroup: int
    uid: int
    ran: float
    waited: float
    longest: float
    bursts: int
    error: float
    bias: float


@dataclass
class _Got:
    ran: float = 0.0
    waited: float = 0.0
    longest: float = 0.0
    bursts: int = 0
    error: float = 0.0
    bias: float = 0.0
    residuals: list[np.ndarray] = field(default_factory=list)

    def add(self, share: Share, residuals: np.ndarray) -> None:
        self.ran += share.ran
        self.waited += share.waited
        self.longest = max(self.longest, share.longest)
        self.bursts += share.bursts
        self.error += share.error
        self.bias += share.bias
        self.residuals.append(residuals)


def jain(values: Sequence[float]) -> float:
    """Jain's index of fairness: 1 when all are equal, 1/n when one has everything; 1 for none."""
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 1.0


def audit(
    shares: Sequence[Share],
    samples: np.ndarray,
    path_of: Callable[[int], str],
    weight_of: Callable[[str], int],
    seconds: float,
) -> Mapping[str, object]:
    """The report.

    Args:
        samples: predicted by what is audited, in the order of time.
        path_of: from a cgroup's number to its path, "" when it is gone.
        weight_of: from a cgroup's path to its cpu.weight.
        seconds: that the shares are of.

    Returns:
        ``cgroups`` and ``users``: rows with time, waiting, bias and its interval; ``siblings``: of cgroups with the
        same parent that wanted more all the time, time over weight and Jain's index; ``bias_and_wait``: rank
        correlation over cgroups, None when they are too few; ``different``: rows whose bias is told.
    """
    residuals = (samples["predicted"] - logarithms(samples["burst"])) / (1 << FRACTION)
    cgroups: dict[str, _Got] = {}
    users: dict[int, _Got] = {}
    for share in shares:
        own = residuals[(samples["cgroup"] == share.cgroup) & (samples["uid"] == share.uid)]
        cgroups.setdefault(path_of(share.cgroup) or f"({share.cgroup})", _Got()).add(share, own)
        users.setdefault(share.uid, _Got()).add(share, own)
    overall = float(residuals.mean()) if len(residuals) else 0.0
    by_cgroup = [{"cgroup": name, **_row(got, overall)} for name, got in sorted(cgroups.items())]
    by_user = [{"uid": uid, **_row(got, overall)} for uid, got in sorted(users.items())]
    return {
        "bias": overall,
        "samples": len(samples),
        "cgroups": by_cgroup,
        "users": by_user,
        "siblings": list(_siblings(cgroups, weight_of, seconds)),
        "bias_and_wait": _bias_and_wait(by_cgroup),
        "different": [row for row in [*by_cgroup, *by_user] if row["differs"]],
    }


def _row(got: _Got, overall: float) -> dict[str, object]:
    residuals = np.concatenate(got.residuals)
    row: dict[str, object] = {
        "ran": got.ran,
        "waited": got.waited,
        "wait_per_run": got.waited / got.ran if got.ran else 0.0,
        "longest": got.longest,
        "bursts": got.bursts,
        "error": got.error / got.bursts if got.bursts else 0.0,
        "bias": got.bias / got.bursts if got.bursts else 0.0,
        "samples": len(residuals),
        "bias_interval": None,
        "differs": 0,
    }
    if len(residuals) >= LEAST:
        # Bursts of neighbours in time are alike: the means of stretches are nearer to independent.
        found = interval([float(piece.mean()) for piece in np.array_split(residuals, BLOCKS)])
        row["bias_interval"] = [found.low, found.high]
        row["differs"] = int(found.low > overall + NOTABLE) - int(found.high < overall - NOTABLE)
    return row


def _siblings(
    cgroups: Mapping[str, _Got], weight_of: Callable[[str], int], seconds: float
) -> Iterator[Mapping[str, object]]:
    """Weights count between cgroups with the same parent, each with all that is below it.

    Only of those that are backlogged throughout does weighted fair queueing say what they get (Parekh and Gallager,
    1993). Times of all tasks are added up, so many tasks for a short time count as one for a long time.
    """
    below: dict[str, _Got] = {}
    for path, got in cgroups.items():
        names = path.strip("/").split("/") if path.startswith("/") else []
        for depth in range(1, len(names) + 1):
            whole = below.setdefault("/" + "/".join(names[:depth]), _Got())
            whole.ran += got.ran
            whole.waited += got.waited
    parents: dict[str, list[str]] = {}
    for path, got in below.items():
        backlogged = got.ran + got.waited >= BACKLOGGED * seconds
        if path != "/" and got.ran and backlogged and got.waited >= CONTENDED * got.ran:
            parents.setdefault(path.rpartition("/")[0] or "/", []).append(path)
    for parent, children in sorted(parents.items()):
        if len(children) > 1:
            per_weight = {child: below[child].ran / weight_of(child) for child in sorted(children)}
            yield {"parent": parent, "jain": jain(list(per_weight.values())), "ran_per_weight": per_weight}


def _bias_and_wait(rows: Sequence[Mapping[str, object]]) -> Mapping[str, object] | None:
    known = [row for row in rows if row["bursts"] >= LEAST and row["ran"]]
    if len(known) < FEWEST_OWNERS:
        return None
    biases, waits = [row["bias"] for row in known], [row["wait_per_run"] for row in known]
    if len(set(biases)) < 2 or len(set(waits)) < 2:
        return None
    return {"cgroups": len(known), "correlation": _rank_correlation(biases, waits)}


def _rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's; equal values share their mean rank."""
    ranks = []
    for values in (first, second):
        _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
        ranks.append((np.cumsum(counts) - (counts - 1) / 2)[places])
    return float(np.corrcoef(*ranks)[0, 1])


def since(now: Sequence[Share], before: Sequence[Share]) -> list[Share]:
    """What came between two looks. An owner that the kernel forgot meanwhile started anew."""
    earlier = {(share.cgroup, share.uid): share for share in before}
    result = []
    for share in now:
        old = earlier.get((share.cgroup, share.uid))
        if old and old.bursts <= share.bursts and old.ran <= share.ran:
            new = asdict(share)
            for name in ("ran", "waited", "bursts", "error", "bias"):
                new[name] -= getattr(old, name)
            result.append(Share(**new))
        else:
            result.append(share)
    return [share for share in result if share.ran or share.bursts]
