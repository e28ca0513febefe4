"""Made-up samples, settings and a kernel for tests."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import yaml
from lichen_sched.kernel import Mode, SchedulerError
from lichen_sched.layout import BUCKETS, FEATURE_NAMES, Control, Counter, Ending, Owner, Share, Tree
from lichen_sched.samples import SAMPLE
from lichen_sched.settings import Settings, load_settings

from tests.conftest import REPOSITORY

OVERLAY = REPOSITORY.overlays / "scheduler-agent"
SECOND = 1_000_000_000


def rendered(name: str, **changed: Any) -> str:
    """A template of the overlay with the defaults of its options, as the builder renders it."""
    declared = yaml.safe_load((OVERLAY / "overlay.yaml").read_text())["options"]
    options = {option: about["default"] for option, about in declared.items()} | changed
    text = (OVERLAY / "tree" / name).read_text()
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(text).render(options=options)


def made_settings(folder: Path, **lines: str) -> Settings:
    """The overlay's settings, observing, with these lines' values changed."""
    text = rendered("etc/lichen/sched.toml.j2", mode="observe")
    for name, value in lines.items():
        text = re.sub(rf"(?m)^{name} = .*$", f"{name} = {value}", text)
    (path := folder / "sched.toml").write_text(text)
    return load_settings(path)


def made_samples(count: int, rule: str = "learnable", seed: int = 0, start: int = 0) -> np.ndarray:
    """Bursts in the order of time.

    Args:
        rule: ``learnable``: what a burst is depends on nice and sleep, and the last one says nothing; ``last``: it is
            nearly the last one; ``noise``: nothing says anything.
    """
    chance = np.random.default_rng(seed)
    samples = np.zeros(count, SAMPLE)
    samples["time"] = start + np.arange(count) * 10_000_000
    features = chance.integers(12 * 256, 24 * 256, (count, len(FEATURE_NAMES)))
    features[:, FEATURE_NAMES.index("nice")] = chance.integers(-20, 20, count)
    noise = chance.normal(0, 0.3, count)
    if rule == "learnable":
        high = (features[:, FEATURE_NAMES.index("nice")] > 0) ^ (features[:, FEATURE_NAMES.index("sleep")] > 18 * 256)
        logarithm = np.where(high, 22, 14) + noise
    elif rule == "last":
        logarithm = features[:, FEATURE_NAMES.index("last")] / 256 + 0.01 * noise
    else:
        logarithm = 18 + 5 * noise
    samples["features"], samples["burst"] = features, 2.0**logarithm
    return samples


def records(samples: np.ndarray) -> list[bytes]:
    """As the ring hands them over."""
    return [sample.tobytes() for sample in samples]


class MadeUpKernel:
    """Keeps what it is told. ``refuses``: modes that cannot be had; ``turns``: what happens at each poll."""

    def __init__(self, support: str = "") -> None:
        self.support = support
        self.mode = Mode.OFF
        self.modes: list[Mode] = []
        self.refuses: set[Mode] = set()
        self.in_force = Control()
        self.models: list[tuple[Sequence[Tree], int]] = []
        self.waiting: list[bytes] = []
        self.turns: list[Callable[[], None]] = []
        self.counts = dict.fromkeys(Counter, 0)
        self.histogram = [0] * BUCKETS
        self.owners: dict[Owner, Share] = {}
        self.ended: Ending | None = None
        self.closed = False

    def set_mode(self, mode: Mode) -> None:
        self.mode = Mode.OFF
        if mode in self.refuses:
            raise SchedulerError(f"{mode} cannot be attached", "Operation not permitted", "Look.")
        self.mode = mode
        self.modes.append(mode)

    def end(self, reason: str) -> None:
        """What the kernel's watchdog does."""
        self.mode, self.ended = Mode.OFF, Ending(1026, 0, reason, "worker/7 was not run")

    def control(self) -> Control:
        return self.in_force

    def set_control(self, **changes: Any) -> Control:
        self.in_force = replace(self.in_force, generation=self.in_force.generation + 1, **changes)
        return self.in_force

    def write_model(self, trees: Sequence[Tree], base: int) -> Control:
        self.models.append((trees, base))
        return self.set_control(slot=1 - self.in_force.slot)

    def poll(self, timeout_ms: int, receive: Callable[[bytes], None]) -> int:
        if self.turns:
            self.turns.pop(0)()
        taken, self.waiting = self.waiting, []
        for record in taken:
            receive(record)
        return len(taken)

    def counters(self) -> dict[Counter, int]:
        return dict(self.counts)

    def delays(self) -> list[int]:
        return list(self.histogram)

    def shares(self) -> dict[Owner, Share]:
        return dict(self.owners)

    def ending(self) -> Ending | None:
        return self.ended

    def close(self) -> None:
        self.closed = True
        self.mode = Mode.OFF


class Clocks:
    """Time that goes on only when told."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def boot(self) -> int:
        return int(self.seconds * SECOND)

    def wall(self) -> float:
        return 1_700_000_000.0 + self.seconds

    def pass_(self, seconds: float) -> None:
        self.seconds += seconds
