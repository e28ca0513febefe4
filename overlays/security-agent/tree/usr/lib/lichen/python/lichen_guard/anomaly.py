"""Judges windows: gathers them while it learns, tells the unusual ones afterwards, and follows slow change.

What is never learned from: windows in which a rule told something; more of the windows that the model told than the
promised rate of false alarms, so that an attacker cannot make the unusual usual by repeating it; of a unit that fills
its windows before their time, more than one per window length, so that nobody can flood the memory with his own.
"""

from __future__ import annotations

import json
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lichen_agent.sealed import SealError, read_sealed, write_sealed

from .features import NAMES, features, new_things
from .learning import Learning
from .model import SEAL, Model, ModelError, Reason, is_better, model_of, try_out
from .profiles import ACQUAINTED, MOST_UNITS, Profiles
from .windows import SECOND, Window

MEMORY_SEAL = "lichen-guard-memory-1"
MOST_ROWS = 4096
# Of the rows, the newest, which neither forest nor threshold of a new model sees: both models are tried on them.
TRIED_ON = 0.2
NEW_NAMES = 5


@dataclass(frozen=True)
class LearningRules:
    """When to learn.

    Attributes:
        windows: to gather before the first model, and ``seconds`` that have to pass.
        rate: share of normal windows that may be told.
        again: seconds after which a new model is learned and compared with the old one.
    """

    windows: int
    seconds: float
    rate: float
    again: float


@dataclass(frozen=True)
class Finding:
    """A window that the model tells.

    Attributes:
        new: what the unit, or the machine, never did before: sort and names, at most five of each.
    """

    window: Window
    score: float
    threshold: float
    reasons: Sequence[Reason]
    new: Mapping[str, Sequence[str]]


class Detector:
    """The model, what it is learned from, and the profiles of all units.

    Args:
        folder: where model and memory are kept.
        length: of a window, nanoseconds.
        learner: starts learning: rows, rate, seed.
    """

    def __init__(
        self,
        rules: LearningRules,
        folder: Path,
        length: int,
        now: int,
        learner: Callable[[np.ndarray, float, int], Learning] = Learning,
    ) -> None:
        self.rules, self.folder, self.length = rules, folder, length
        self.notes: deque[str] = deque(maxlen=64)
        self.scores: OrderedDict[str, float] = OrderedDict()
        self.judged = self.told = 0
        self._learner = learner
        self._learning: Learning | None = None
        self._empty(now)
        self._load()

    def _empty(self, now: int) -> None:
        self.model: Model | None = None
        self.profiles = Profiles()
        self._rows: deque[np.ndarray] = deque(maxlen=max(MOST_ROWS, self.rules.windows))
        self._admitted_at: OrderedDict[str, int] = OrderedDict()
        self._admitted_told = 0
        self._gathered_before, self._since = 0.0, now

    # What is seen

    def judge(self, window: Window) -> Finding | None:
        """Take a closed window in; return it with its reasons when it is unusual. While learning nothing is."""
        reference = self.profiles.reference(window.unit)
        if reference.windows < ACQUAINTED:
            self._remember(window)
            return None
        values = np.array(features(window, reference), np.float32)
        finding = self._finding(window, values) if self.model else None
        # A told window is known from then on, so that lasting news is told once; but a flood of them counts as one.
        if not window.alerts and self._is_in_turn(window):
            if self._may_learn(finding is not None):
                self._rows.append(values)
            self._remember(window)
        return finding

    def _remember(self, window: Window) -> None:
        if not window.alerts:
            self.profiles.learn(window)

    def _finding(self, window: Window, values: np.ndarray) -> Finding | None:
        self.judged += 1
        score = float(self.model.scores(values)[0])
        self.scores[window.unit] = score
        self.scores.move_to_end(window.unit)
        while len(self.scores) > MOST_UNITS:
            self.scores.popitem(last=False)
        if score <= self.model.threshold:
            return None
        self.told += 1
        reference = self.profiles.reference(window.unit)
        new = {
            sort: new_things(window, reference, sort)[:NEW_NAMES] for sort in ("programs", "destinations", "folders")
        }
        return Finding(window, score, self.model.threshold, self.model.reasons(values), new)

    def _may_learn(self, told: bool) -> bool:
        if told:
            # None of them would make each new threshold lower than the last; all would let an attacker teach us.
            if self._admitted_told + 1 > max(1.0, self.model.rate * self.judged):
                return False
            self._admitted_told += 1
        return True

    def _is_in_turn(self, window: Window) -> bool:
        """Whether the unit's last window that counted is a window's length ago: who fills them early has one."""
        last = self._admitted_at.get(window.unit)
        if last is not None and window.ended < last + self.length:
            return False
        self._admitted_at[window.unit] = window.ended
        self._admitted_at.move_to_end(window.unit)
        while len(self._admitted_at) > MOST_UNITS:
            self._admitted_at.popitem(last=False)
        return True

    # Learning

    def turn(self, now: int) -> None:
        """Start learning when it is time, take what was learned. Never waits. ``now`` is in nanoseconds since boot."""
        if self._learning:
            self._take()
        elif self._is_time(now):
            rows = np.array(self._rows)
            if self.model:
                rows = rows[: round(len(rows) * (1 - TRIED_ON))]
            # A failure is tried again after the same time.
            self._gathered_before, self._since = 0.0, now
            try:
                self._learning = self._learner(rows, self.rules.rate, len(rows))
            except ModelError as error:
                self.notes.append(f"no model was learned: {error}")

    def _is_time(self, now: int) -> bool:
        wanted = self.rules.again if self.model else self.rules.seconds
        return len(self._rows) >= self.rules.windows and self.gathering(now) >= wanted

    def gathering(self, now: int) -> float:
        """Seconds since windows for the next model are gathered; the time that the machine was off does not count."""
        return self._gathered_before + (now - self._since) / SECOND

    def _take(self) -> None:
        try:
            model = self._learning.result()
        except ModelError as error:
            self._learning = None
            self.notes.append(f"no model was learned: {error}")
            return
        if not model:
            return
        self._learning = None
        self.notes.append(self._adopt(model))

    def _adopt(self, model: Model) -> str:
        if self.model:
            rows = np.array(self._rows)[round(len(self._rows) * (1 - TRIED_ON)) :]
            new, old = try_out(model, rows), try_out(self.model, rows)
            figures = f"separation {new.separation:.4f} against {old.separation:.4f}, "
            figures += f"{new.alarms:.2%} against {old.alarms:.2%} of {len(rows)} normal windows told"
            if not is_better(new, old, self.model.rate, len(rows)):
                return f"the new model is not better than the old one, which stays: {figures}"
        else:
            figures = f"threshold {model.threshold:.3f}, at most {model.rate:.2%} of normal windows are told"
        self.model = model
        self.judged = self.told = self._admitted_told = 0
        self._save(self.folder / "model.npz", SEAL, model.arrays())
        return f"a model was learned from {model.windows} windows: {figures}"

    def start_anew(self, now: int, windows: int | None = None) -> None:
        """Forget everything and learn from scratch, from so many windows if given. Nothing is told meanwhile."""
        self.stop()
        if windows:
            self.rules = LearningRules(windows, 0.0, self.rules.rate, self.rules.again)
        self._empty(now)
        self.scores.clear()
        for name in ("model.npz", "memory.npz"):
            try:
                (self.folder / name).unlink(missing_ok=True)
            except OSError as error:
                # Nothing of it is in use any more; but the next start would read it.
                self.notes.append(f"{self.folder / name} cannot be removed: {error.strerror}; remove it by hand")
        self.notes.append(f"learning starts anew, from {self.rules.windows} windows")

    def stop(self) -> None:
        """End a learner that is at work."""
        if self._learning:
            self._learning.stop()
            self._learning = None

    # Keeping

    def save(self, now: int) -> None:
        """Write down what was seen so far; trouble with the disk becomes a note."""
        memory = json.dumps({"profiles": self.profiles.to_json(), "seconds": self.gathering(now), "features": NAMES})
        rows = np.array(self._rows, np.float32).reshape(-1, len(NAMES))
        arrays = {"rows": rows, "memory": np.frombuffer(memory.encode(), np.uint8)}
        self._save(self.folder / "memory.npz", MEMORY_SEAL, arrays)

    def _save(self, path: Path, seal: str, arrays: Mapping[str, np.ndarray]) -> None:
        try:
            write_sealed(path, seal, arrays)
        except OSError as error:
            self.notes.append(f"{path} cannot be written: {error.strerror}")

    def _load(self) -> None:
        try:
            arrays = read_sealed(self.folder / "memory.npz", MEMORY_SEAL)
            memory = json.loads(arrays["memory"].tobytes())
            rows = arrays["rows"].astype(np.float32)
            if memory["features"] != list(NAMES) or rows.shape[1:] != (len(NAMES),) or not np.isfinite(rows).all():
                raise SealError(f"{self.folder / 'memory.npz'}: of other features than this version has")
            profiles, seconds = Profiles.from_json(memory["profiles"]), float(memory["seconds"])
            self.model = model_of(read_sealed(self.folder / "model.npz", SEAL))
        except FileNotFoundError as error:
            if Path(error.filename).name != "model.npz":
                return
        except (SealError, ModelError, KeyError, TypeError, ValueError) as error:
            self.model = None
            self.notes.append(f"what was learned before is refused, learning starts anew: {error}")
            return
        self.profiles, self._gathered_before = profiles, seconds
        self._rows.extend(rows)

    def state(self, now: int) -> Mapping[str, object]:
        """For people and machines: what the model is at."""
        told = {
            "state": "judging" if self.model else "learning",
            "windows": len(self._rows),
            "wanted_windows": self.rules.windows,
            "gathering_seconds": round(self.gathering(now)),
            "being_learned": self._learning is not None,
            "units": len(self.profiles),
        }
        if self.model:
            told |= {"learned": self.model.learned, "learned_from": self.model.windows, "rate": self.model.rate}
            told |= {"threshold": self.model.threshold, "judged": self.judged, "told": self.told}
        return told
