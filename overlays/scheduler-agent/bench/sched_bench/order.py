"""Who runs when: every block has every workload, and of each every configuration once, in an order of its own."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Unit:
    """One workload of one block: all configurations in turn, in one boot, with one seed of the workload.

    Attributes:
        seed: what the workload is made from; the same for all configurations, so that they are paired.
        order: names of the configurations, as they run.
    """

    block: int
    workload: str
    seed: int
    order: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """All that is to be measured.

    Attributes:
        seed: of the order and of the workloads.
        scale: of fixed work; 1 takes an emulated processor a few seconds.
        seconds: of workloads of a fixed time.
    """

    seed: int
    rounds: int
    scale: float
    seconds: float
    workloads: tuple[str, ...]
    configurations: tuple[str, ...]
    virtual: bool = False

    @property
    def digest(self) -> str:
        """Identity: runs of plans that differ do not belong together. More rounds of the same are the same plan."""
        what = {key: value for key, value in asdict(self).items() if key != "rounds"}
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]

    def units(self) -> Iterator[Unit]:
        """In the order in which they run; the same for the same plan."""
        for block in range(self.rounds):
            for workload in shuffled(self.workloads, self.seed, block, "workloads"):
                seed = derived(self.seed, block, workload)
                yield Unit(block, workload, seed, shuffled(self.configurations, self.seed, block, workload))

    def training_seed(self, workload: str) -> int:
        """The seed of the run that the trees learn from; no block has it."""
        return derived(self.seed, -1, workload)


def derived(seed: int, block: int, name: str) -> int:
    """A seed of 31 bits that belongs to a block's workload."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{block}/{name}".encode()).digest()[:4], "big") >> 1


def shuffled(names: Iterable[str], seed: int, block: int, about: str) -> tuple[str, ...]:
    """``names`` in an order that seed, block and ``about`` decide."""
    found = list(names)
    random.Random(f"{seed}/{block}/{about}").shuffle(found)  # noqa: S311
    return tuple(found)


def left(units: Sequence[Unit], done: Iterable[tuple[int, str]]) -> list[Unit]:
    """The units that are not in ``done`` (block and workload)."""
    known = set(done)
    return [unit for unit in units if (unit.block, unit.workload) not in known]
