"""The baseline that the forest is compared with: how improbable what a window's programs did is."""

from __future__ import annotations

import math
from collections import Counter, defaultdict

from .windows import Window


class Frequency:
    """Counts how often each program did each kind of thing in a unit; nothing is known of times and order."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
        self._machine: Counter[tuple[str, str]] = Counter()

    def learn(self, window: Window) -> None:
        """Count a normal window in."""
        self._counts[window.unit].update(window.actions)
        self._machine.update(window.actions)

    def score(self, window: Window) -> float:
        """Sum of -log(probability) of the window's events in its unit, natural logarithm, Laplace's estimate."""
        # A unit never seen is compared with the machine, as the model does it.
        known = self._counts.get(window.unit) or self._machine
        total = known.total() + len(known) + 1
        return sum(count * -math.log((known[action] + 1) / total) for action, count in window.actions.items())
