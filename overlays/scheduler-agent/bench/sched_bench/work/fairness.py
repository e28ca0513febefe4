"""Who gets what: cgroups of different weights, users of the same weight who work differently, nice values.

    LICHEN_BENCH_CGROUP=/sys/fs/cgroup/... python3 -m sched_bench.work.fairness --seconds 8 --seed 1

All want more processor time than there is. The users have the same weight: ``steady`` never rests, ``bursty`` works in
short bursts with a moment's sleep between and has enough processes to want its share and more. A scheduler that
favours short bursts beyond weights gives ``bursty`` more.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import struct
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from ..analysis import jain
from .load import hog, spin

WEIGHTS = {"weight-100": 100, "weight-200": 200, "weight-400": 400}
USERS = {"steady": 64101, "bursty": 64102}
# Weights of nice values (sched_prio_to_weight of the kernel).
NICE = {0: 1024, 5: 335}
# Seconds until all have made the pages that they write to their own, and for which they go on after the last look.
WARM, REST = 1.5, 0.5


def bursts(seed: int, number: int) -> Callable[[float], None]:
    """Work in short bursts, for a process of its own; another ``number`` has other bursts."""
    chance = random.Random(f"{seed} {number}")  # noqa: S311

    def work(until: float) -> None:
        while time.monotonic() < until:
            spin(int(500 * chance.lognormvariate(0, 0.7)))
            time.sleep(0.0005)

    return work


class Contest:
    """Processes in cgroups that all want the processors, from a moment when the last of them is ready."""

    def __init__(self, parent: Path) -> None:
        self.parent = parent
        self.groups: dict[str, Path] = {}
        self.numbers: dict[str, int] = {}  # as the kernel knows the cgroups; they are gone when the result is read
        self._children: dict[int, tuple[str, int]] = {}
        self._ready, self._start = os.pipe(), os.pipe()

    def group(self, name: str, weight: int) -> None:
        """A cgroup of this weight."""
        path = self.parent / f"fair-{name}"
        path.mkdir(exist_ok=True)
        (path / "cpu.weight").write_text(str(weight))
        self.groups[name], self.numbers[name] = path, path.stat().st_ino

    def enter(self, group: str, works: Iterable[Callable[[float], object]], user: int = 0, nice: int = 0) -> None:
        """A process of ``user`` in a cgroup for each of ``works``, which will do it until a moment that it is told."""
        for work in works:
            child = os.fork()
            if child == 0:
                (self.groups[group] / "cgroup.procs").write_text("0")
                os.nice(nice)
                if user:
                    os.setgid(user)
                    os.setuid(user)
                os.write(self._ready[1], b"r")
                work(*struct.unpack("d", os.read(self._start[0], 8)))
                os._exit(0)
            self._children[child] = (group, nice)

    def start(self, seconds: float) -> None:
        """All of them begin, to end after so many seconds."""
        for _ in self._children:
            os.read(self._ready[0], 1)
        until = time.monotonic() + seconds
        os.write(self._start[1], struct.pack("d", until) * len(self._children))

    def used(self) -> dict[str, float]:
        """Microseconds that each cgroup has had."""
        found = {}
        for name, path in self.groups.items():
            lines = dict(line.split() for line in (path / "cpu.stat").read_text().splitlines())
            found[name] = float(lines["usage_usec"])
        return found

    def by_nice(self, group: str) -> dict[int, float]:
        """Seconds of processor time so far by nice value of the processes in ``group``."""
        found: dict[int, float] = {}
        for child, (where, nice) in self._children.items():
            if where == group:
                ran = int(Path(f"/proc/{child}/schedstat").read_text().split()[0]) / 1e9
                found[nice] = found.get(nice, 0.0) + ran
        return found

    def clear(self) -> None:
        """Waits for all; no cgroup of ours is left."""
        for child in self._children:
            os.waitpid(child, 0)
        for path in self.groups.values():
            path.rmdir()


def main() -> None:
    """Let them contend, print shares and indices."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    arguments = parser.parse_args()
    processors = os.cpu_count() or 1
    contest = Contest(Path(os.environ["LICHEN_BENCH_CGROUP"]))
    owners = {**WEIGHTS, **dict.fromkeys(USERS, 100)}
    for name, weight in {**owners, "nice": 100}.items():
        contest.group(name, weight)
    for name in WEIGHTS:
        contest.enter(name, [hog] * processors)
    contest.enter("steady", [hog] * processors, USERS["steady"])
    contest.enter("bursty", [bursts(arguments.seed, number) for number in range(4 * processors)], USERS["bursty"])
    for nice in NICE:
        contest.enter("nice", [hog] * processors, nice=nice)
    contest.start(WARM + arguments.seconds + REST)
    # Who looks must not have to wait for its turn; the real-time class is above both schedulers.
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    time.sleep(WARM)
    before, nice_before = contest.used(), contest.by_nice("nice")
    time.sleep(arguments.seconds)
    after, nice_after = contest.used(), contest.by_nice("nice")
    shares = {name: after[name] - before[name] for name in after}
    by_nice = {nice: nice_after[nice] - nice_before[nice] for nice in NICE}
    contest.clear()
    indices = {
        "jain_weights": jain([shares[name] / weight for name, weight in WEIGHTS.items()]),
        "jain_users": jain([shares[name] for name in USERS]),
        "jain_nice": jain([by_nice[nice] / weight for nice, weight in NICE.items()]),
    }
    listed = [
        {"owner": name, "weight": weight, "ran_us": shares[name], "cgroup": contest.numbers[name]}
        for name, weight in owners.items()
    ]
    print(json.dumps({**indices, "owners": listed, "nice": by_nice}))


if __name__ == "__main__":
    main()
