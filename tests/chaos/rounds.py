"""One round: a fresh place, trouble, the run under trouble, the run after it, and what must hold."""

from __future__ import annotations

import os
import random
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.faults import MISSED, Fault, Trouble, damage, full_disk, kill, lie
from tests.chaos.stage import Ended, Place, Stage
from tests.chaos.watch import descendants, difference, left_running, mounts

FAULTS: dict[str, Fault] = {"kill": kill, "full": full_disk, "damage": damage, "lie": lie}
KILLED = -9


@dataclass
class Report:
    """What happened in one round.

    Attributes:
        name: STAGE-FAULT-NUMBER; with the seed it decides everything that is random.
        trouble: what was done, and when.
        happened: how the command ended.
        missed: it had ended before anything was done to it.
        recovery: seconds that the run afterwards took.
        broken: what should have held and did not, a line each, the invariant's name first.
    """

    name: str
    trouble: str = ""
    happened: str = ""
    missed: bool = False
    recovery: float = 0.0
    broken: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def check(self, invariant: str, complaints: list[str]) -> None:
        self.broken += [f"{invariant}: {complaint}" for complaint in complaints[:5]]


def run_round(stage: Stage, name: str, seed: int, folder: Path) -> Report:
    """Round ``name`` (STAGE-FAULT-NUMBER) in ``folder``, which is gone afterwards unless something was broken."""
    report = Report(name)
    rng = random.Random(f"{seed}/{name}")
    known = descendants(os.getpid())
    mounted = mounts()
    place = stage.place(folder)
    with FAULTS[name.split("-")[1]](stage, place, rng) as trouble:
        report.trouble = trouble.what
        before = stage.earlier(place)
        ended = stage.run(place, trouble.meanwhile)
        report.happened = _told(ended)
        report.missed = ended.done == MISSED
        if report.missed:
            stage.seconds = ended.seconds  # the machine is faster now: the next moment is chosen from this
        report.check("no process left", left_running(known))
        _check_end(report, trouble, ended)
        _check_earlier(report, stage, place, trouble, before)
        if not trouble.damaged:
            report.check("complete or absent", stage.halves(place))
        if ended.code != KILLED:
            kept = stage.resumable(place) if ended.code else []
            report.check("nothing left behind", [name for name in stage.leftovers(place) if name not in kept])
        trouble.over()

        again = stage.run(place)
        report.recovery = round(again.seconds, 1)
        report.check("next run succeeds", [] if again.code == 0 else [_told(again)])
        report.check("identical", difference(stage.reference, stage.result(place)) if again.code == 0 else [])
        report.check("nothing left over", stage.leftovers(place))
        report.check("no process left", left_running(known))
        _check_earlier(report, stage, place, trouble, before)
    report.check("no mount left", sorted(mounts() - mounted))
    if not report.broken:
        shutil.rmtree(folder)
    return report


def _check_end(report: Report, trouble: Trouble, ended: Ended) -> None:
    """The command ended in time, and in order unless it was killed."""
    if ended.code == KILLED and trouble.kills:
        return
    report.check("ends in time", ["it did not"] if ended.code is None else [])
    allowed = (0,) if trouble.must_succeed else (0, 1, 2) if trouble.bad_input else (0, 1)
    report.check("ends in order", [] if ended.code in (None, *allowed) else [_told(ended)])
    report.check("no traceback", [ended.said[-1500:]] if "Traceback" in ended.said else [])
    if ended.code and trouble.words:
        clear = any(word in ended.said for word in trouble.words)
        report.check("says what was wrong", [] if clear else [_told(ended)])


def _check_earlier(report: Report, stage: Stage, place: Place, trouble: Trouble, before: Any) -> None:
    now = stage.earlier(place)
    kept = {name: told for name, told in before.items() if not name.startswith(trouble.damaged or ("\0",))}
    report.check("earlier results untouched", difference(kept, {name: now.get(name, "absent") for name in kept}))


def _told(ended: Ended) -> str:
    said = " / ".join(line.strip() for line in ended.said.splitlines() if line.strip())
    state = {None: "did not end", 0: "succeeded", KILLED: "killed"}.get(ended.code, f"exit code {ended.code}")
    done = f"{ended.done}: " if ended.done else ""
    return f"{done}{state}" if ended.code in (0, KILLED) else f"{done}{state} ({said[-700:]})"


def names(counts: dict[str, int]) -> list[str]:
    """Round names for ``STAGE-FAULT`` to how many."""
    return [f"{kind}-{number}" for kind, count in counts.items() for number in range(count)]


def brief(text: str, width: int) -> str:
    """``text`` on one line of at most ``width`` characters."""
    line = " ".join(text.split())
    return line if len(line) <= width else f"{line[: width - 3]}..."
