"""What is normal on this machine: a forest, the score from which a window is told, and how often that is wrong.

One model serves all units. One for each would have to wait until each had hundreds of windows, which most units never
have, and their number has no bound; what differs between units is in the features instead, which are relative to what
the unit did before.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .features import NAMES
from .forest import Forest, forest_of, grow
from .ranking import auroc

SEAL = "lichen-guard-model-1"
# Of the windows, in the order of time: what the forest never saw decides from which score on a window is told.
HELD_OUT = 0.3
# Made-up windows among those that the forest grows from, as a share of the real ones; see with_sentinels.
SENTINELS = 0.1
REASONS = 3


class ModelError(Exception):
    """There is no model to be had from this; the message says why."""


@dataclass(frozen=True)
class Reason:
    """One number of a window that made it unusual.

    Attributes:
        fall: by how much the score falls when this number alone is what it is in the median window.
    """

    feature: str
    value: float
    median: float
    fall: float


@dataclass(frozen=True)
class Model:
    """A forest and what its scores mean.

    Attributes:
        threshold: a window with a higher score is told.
        medians: of each feature, over the windows learned from.
        rate: of normal windows, the share that is told all the same, at most: what was asked for, or what the number of
            held-out windows can vouch for, if that is more.
        windows, held_out: how many it was learned and calibrated from.
        learned: seconds since 1970.
    """

    forest: Forest
    threshold: float
    medians: np.ndarray
    rate: float
    windows: int
    held_out: int
    learned: float

    def scores(self, rows: np.ndarray) -> np.ndarray:
        """Of each row of features, between 0 and 1."""
        return self.forest.scores(np.atleast_2d(rows))

    def reasons(self, values: np.ndarray, most: int = REASONS) -> Sequence[Reason]:
        """The features that raise a window's score most, the strongest first; those that raise nothing are left out."""
        rows = np.tile(np.float32(values), (len(values) + 1, 1))
        np.fill_diagonal(rows[1:], self.medians)
        score, *ablated = self.forest.scores(rows)
        falls = score - np.array(ablated)
        found = [
            Reason(NAMES[i], float(values[i]), float(self.medians[i]), float(falls[i])) for i in np.argsort(-falls)
        ]
        return [reason for reason in found[:most] if reason.fall > 0]

    def arrays(self) -> Mapping[str, np.ndarray]:
        """What :func:`model_of` takes; goes into files."""
        numbers = [self.threshold, self.rate, self.windows, self.held_out, self.learned]
        names = np.array(NAMES)
        return {**self.forest.arrays(), "names": names, "medians": self.medians, "numbers": np.array(numbers)}


def model_of(arrays: Mapping[str, np.ndarray]) -> Model:
    """Make a model of saved arrays.

    Raises:
        ModelError: they are none, or of other features than ours.
    """
    try:
        if arrays["names"].tolist() != list(NAMES):
            raise ModelError("the model is of other features than this version has")
        forest = forest_of(arrays, len(NAMES))
        threshold, rate, windows, held_out, learned = map(float, arrays["numbers"])
        medians = arrays["medians"].astype(np.float32)
    except (KeyError, ValueError, TypeError) as error:
        raise ModelError(f"the model is not complete: {error}") from error
    if medians.shape != (len(NAMES),) or not np.isfinite([threshold, rate, windows, held_out, learned, *medians]).all():
        raise ModelError("the model's numbers are not finite, or not one for each feature")
    return Model(forest, threshold, medians, rate, int(windows), int(held_out), learned)


def learn(rows: np.ndarray, rate: float, now: float, seed: int = 0) -> Model:
    """Learn what is normal from rows of features in the order of time.

    Args:
        rate: share of normal windows that may be told.
        now: seconds since 1970.

    Raises:
        ModelError: too few windows.
        ImportError: scikit-learn is not here.
    """
    split = round(len(rows) * (1 - HELD_OUT))
    train, held_out = rows[:split], rows[split:]
    if len(held_out) < 10:
        raise ModelError(f"{len(rows)} windows are too few to learn from; 34 are the least")
    forest = grow(with_sentinels(train, seed), seed)
    threshold, vouched = calibrate(forest.scores(held_out), rate)
    medians = np.median(train, axis=0).astype(np.float32)
    return Model(forest, threshold, medians, vouched, len(rows), len(held_out), now)


def with_sentinels(rows: np.ndarray, seed: int = 0) -> np.ndarray:
    """Real windows, and after them copies with one number each beyond all that was seen.

    An isolation forest never splits on what was the same in all windows, so a machine on which nothing ever ran from
    memory would not see it happen; and it has no splits beyond the largest value seen. These copies make it ask.
    """
    noise = np.random.default_rng(seed)
    features = rows.shape[1]
    changed = np.tile(np.arange(features), max(1, round(len(rows) * SENTINELS / features)))
    copies = rows[noise.integers(0, len(rows), len(changed))].copy()
    highest = rows.max(axis=0)
    # 1 stands for "once, where it was never": all features are shares or logarithms.
    span = np.maximum(highest - rows.min(axis=0), 1.0)
    copies[np.arange(len(copies)), changed] = highest[changed] + span[changed] * noise.random(len(copies))
    return np.concatenate([rows, copies])


def calibrate(scores: np.ndarray, rate: float) -> tuple[float, float]:
    """The score above which to tell, and the rate of false alarms that this vouches for.

    Split conformal prediction: when windows to come are exchangeable with the n held out, the chance that one scores
    above the k-th highest of them is at most k / (n + 1). Fewer than 1 / rate windows cannot vouch for the rate; the
    highest score is the threshold then, and the chance 1 / (n + 1).
    """
    count = max(1, math.floor(rate * (len(scores) + 1)))
    return float(np.sort(scores)[-count]), max(rate, count / (len(scores) + 1))


@dataclass(frozen=True)
class Trial:
    """How a model did on recent normal windows that it never saw.

    Attributes:
        alarms: share of them that it tells.
        separation: AUROC between them and made-up windows, each number drawn from the range in which it was seen.
    """

    alarms: float
    separation: float


def try_out(model: Model, rows: np.ndarray, seed: int = 0) -> Trial:
    """See how the model does on normal windows. There are no attacks to try it on: made-up windows stand in."""
    noise = np.random.default_rng(seed)
    made_up = noise.uniform(rows.min(axis=0), rows.max(axis=0) + 1, (max(200, len(rows)), rows.shape[1]))
    normal = model.scores(rows)
    scores = np.concatenate([normal, model.scores(made_up)])
    labels = np.arange(len(scores)) >= len(rows)
    return Trial(float((normal > model.threshold).mean()), auroc(scores, labels).value)


def is_better(new: Trial, old: Trial, rate: float, windows: int) -> bool:
    """Whether the new model shall take the old one's place.

    It shall when the old one has begun to tell more normal windows than promised, by more than chance (three standard
    deviations), and the new one tells fewer; or when it tells normal from made-up windows at least as well, and keeps
    the promise.
    """
    bound = rate + 3 * math.sqrt(rate * (1 - rate) / windows) + 1 / windows
    if old.alarms > bound:
        return new.alarms < old.alarms
    return new.alarms <= bound and new.separation >= old.separation
