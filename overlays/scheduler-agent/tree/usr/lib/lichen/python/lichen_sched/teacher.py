"""Decides what predicts: gathers samples, has models learned from them, tries, installs and takes them back."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from .baselines import CONSTANT, constant_of
from .ensemble import Ensemble
from .learner import LEAST
from .learning import Learning
from .model import Model, ModelError
from .samples import Samples, parse
from .versions import Versions

SECOND = 1_000_000_000
# Before the first model: samples to gather, and the time in which they came. A minute shows one program at work.
FIRST_SAMPLES, FIRST_SECONDS = 4000, 600
# How often, and on how many of the bursts since then, it is seen whether the model in force still is the best.
CHECK_SECONDS, CHECK_SAMPLES = 600, 1000


@dataclass(frozen=True)
class LearningRules:
    """When to learn and what to install.

    Attributes:
        predictor: what the settings want: ``auto`` or one.
        learns: whether models are learned at all.
        again: seconds between two learnings.
        margin: see :meth:`Model.refused`.
    """

    predictor: str
    learns: bool
    again: float
    margin: float


@dataclass(frozen=True)
class Choice:
    """What predicts.

    Attributes:
        predictor: constant, last, ewma or trees.
        constant: nanoseconds.
        ensemble: of the trees; None with any other.
    """

    predictor: str
    constant: int
    ensemble: Ensemble | None = None


class Teacher:
    """Everything about predictors.

    Args:
        folder: where models are kept.
        now: nanoseconds since boot, here and below.
        learner: starts learning: samples, the ensemble in force, seed.

    Attributes:
        version: number of the model in force, 0 when there is none.
        notes: what happened, for the journal.
        faulty: records that were no samples.
        outcomes: how many models were installed, refused, taken back, and learnings failed.
    """

    def __init__(
        self,
        rules: LearningRules,
        folder: Path,
        now: int,
        learner: Callable[[np.ndarray, Ensemble | None, int], Learning] = Learning,
    ) -> None:
        self.rules = rules
        self.samples, self._fresh = Samples(), Samples(4 * CHECK_SAMPLES)
        self.notes: deque[str] = deque(maxlen=64)
        self.outcomes = {"installed": 0, "refused": 0, "taken back": 0, "failed": 0}
        self.faulty = 0
        self._learner, self._learning = learner, None
        self._versions = Versions(folder)
        self._since = self._checked = now
        self._last: Mapping[str, object] = {}
        self._baseline, self._constant = "ewma", CONSTANT
        self.version, self.model, faults = self._versions.newest()
        if faults:
            self.notes.append(faults.strip())
        if self.model:
            self._baseline, self._constant = self.model.tried.best, self.model.constant

    def take(self, records: Sequence[bytes]) -> int:
        """Take records of the ring in; return how many were samples."""
        samples, faulty = parse(records)
        self.faulty += faulty
        self.samples.add(samples)
        self._fresh.add(samples)
        return len(samples)

    def choice(self) -> Choice:
        """What shall predict now."""
        wanted = self.rules.predictor
        if wanted in ("auto", "trees") and self.model:
            return Choice("trees", self.model.constant, self.model.ensemble)
        return Choice(self._baseline if wanted in ("auto", "trees") else wanted, self._constant)

    # Learning

    def turn(self, now: int) -> None:
        """Start learning when it is time, take what was learned, look after the model in force. Never waits."""
        if self._learning:
            self._collect(now)
        elif self.rules.learns and self._is_time(now):
            self.start(now)
        if self.model and now - self._checked >= CHECK_SECONDS * SECOND and len(self._fresh) >= CHECK_SAMPLES:
            self._check(now)

    def _is_time(self, now: int) -> bool:
        passed = (now - self._since) / SECOND
        if self._last or self.model:
            return passed >= self.rules.again and len(self.samples) >= FIRST_SAMPLES
        return passed >= FIRST_SECONDS and len(self.samples) >= FIRST_SAMPLES

    def start(self, now: int) -> str:
        """Start learning now; why not, or "" when it has begun."""
        if self._learning:
            return "a model is being learned already"
        if len(self.samples) < LEAST:
            return f"{len(self.samples)} samples are too few to learn from; {LEAST} are the least"
        self._since = now
        samples = self.samples.ordered()
        try:
            self._learning = self._learner(samples, self.model.ensemble if self.model else None, self.samples.seen)
        except ModelError as error:
            self._failed(str(error))
            return str(error)
        # Until a model comes, what is known already serves.
        if not self.model:
            self._constant = constant_of(samples["burst"])
        return ""

    def _failed(self, why: str) -> None:
        self.outcomes["failed"] += 1
        self._last = {"outcome": "failed", "why": why}
        self.notes.append(f"no model was learned: {why}")

    def _collect(self, now: int) -> None:
        try:
            model = self._learning.result()
        except ModelError as error:
            self._learning = None
            self._failed(str(error))
            return
        if not model:
            return
        self._learning = None
        self._judge(model, now)

    def _judge(self, model: Model, now: int) -> None:
        why = model.refused(self.rules.margin)
        self._baseline = model.tried.best
        if not why:
            try:
                self.version, self.model = self._versions.add(model), model
            except OSError as error:
                # A model that the next start does not have is none: what is in force is what is on the disk.
                self._failed(f"it cannot be kept: {error.strerror}")
                return
            self._anew(now)
        if not self.model or not why:
            self._constant = model.constant
        outcome = "refused" if why else "installed"
        self.outcomes[outcome] += 1
        self._last = {"outcome": outcome, "why": why, "learned_from": model.samples, **asdict(model.tried)}
        errors = ", ".join(f"{name} {error:.3f}" for name, error in model.tried.errors.items())
        told = f"model {self.version} is installed" if not why else f"a new model is refused, {why}"
        self.notes.append(f"{told}; mean error of log2 on {model.tried.bursts} bursts held out: {errors}")

    def _anew(self, now: int) -> None:
        self._checked, self._fresh = now, Samples(4 * CHECK_SAMPLES)

    # Looking after

    def _check(self, now: int) -> None:
        """Take the model back when a baseline is better on what came since, by more than chance."""
        samples = self._fresh.ordered()
        self._anew(now)
        while self.model and (seen := self.model.compare(samples)).high < 0:
            errs = f"{seen.errors['trees']:.3f} against {seen.errors[seen.best]:.3f} of {seen.best}"
            bad, self._baseline = self.version, seen.best
            self._versions.drop(bad)
            self.version, self.model, faults = self._versions.newest(bad)
            self.outcomes["taken back"] += 1
            follows = f"model {self.version} follows" if self.model else f"{seen.best} follows"
            self.notes.append(f"model {bad} is taken back, it errs by {errs} on {seen.bursts} bursts; {follows}")
            if faults:
                self.notes.append(faults.strip())

    def stop(self) -> None:
        """End a learner that is at work."""
        if self._learning:
            self._learning.stop()
            self._learning = None

    def state(self) -> Mapping[str, object]:
        """For people and machines: what predicts, and how good the model was when it was tried."""
        told: dict[str, object] = {
            "predictor": self.choice().predictor,
            "wanted": self.rules.predictor,
            "version": self.version,
            "versions": self._versions.numbers(),
            "samples": len(self.samples),
            "learning": self._learning is not None,
            "last": self._last,
            "outcomes": dict(self.outcomes),
        }
        if self.model:
            told |= {"learned": self.model.learned, "learned_from": self.model.samples}
            told["tried"] = asdict(self.model.tried)
        return told
