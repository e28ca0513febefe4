"""How well the model tells attacks from the rest, beside a baseline, with the number of windows behind each figure."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from .event import Event
from .features import features
from .frequency import Frequency
from .model import learn
from .profiles import ACQUAINTED, Profiles
from .ranking import Auroc, auroc
from .windows import Window, Windows


def windows_of(events: Iterable[Event], length: int, most_events: int = 5000) -> Sequence[Window]:
    """The windows that recorded events fall into, in the order in which they close. ``length`` is in nanoseconds."""
    windows, closed, last = Windows(length, most_events), [], 0
    for event in events:
        last = max(last, event.time)
        closed += windows.expire(event.time) + windows.add(event)
    return [*closed, *windows.expire(last + length)]


@dataclass(frozen=True)
class Comparison:
    """Forest and baseline on the same windows.

    Attributes:
        alarms: share of the normal windows that the model told; ``caught``: of the attacks.
        rate: of false alarms, which the model had promised.
        learned: windows that it was learned from.
    """

    forest: Auroc
    frequency: Auroc
    alarms: float
    caught: float
    rate: float
    learned: int


def compare(normal: Sequence[Window], labelled: Sequence[tuple[Window, bool]], rate: float = 0.001) -> Comparison:
    """Learn from normal windows, then judge others whose label is known, by the forest and by the baseline.

    The labelled windows change nothing in what is known: their order does not matter. Both sorts of windows are in the
    order of time otherwise, as :func:`windows_of` gives them.

    Raises:
        ModelError, ValueError: too few windows, or only one sort of labels.
    """
    profiles, baseline, rows = Profiles(), Frequency(), []
    for window in normal:
        reference = profiles.reference(window.unit)
        if reference.windows >= ACQUAINTED:
            rows.append(np.array(features(window, reference), np.float32))
        profiles.learn(window)
        baseline.learn(window)
    model = learn(np.array(rows), rate, time.time())
    windows, labels = [window for window, _ in labelled], np.array([label for _, label in labelled], bool)
    scores = model.scores(
        np.array([features(window, profiles.reference(window.unit)) for window in windows], np.float32)
    )
    told = scores > model.threshold
    return Comparison(
        auroc(scores, labels),
        auroc([baseline.score(window) for window in windows], labels),
        float(told[~labels].mean()),
        float(told[labels].mean()),
        model.rate,
        len(rows),
    )
