"""What each unit is known to do: the memory that makes a window's numbers relative to its unit."""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .windows import GROUPS, Window

SORTS = ("kinds", "programs", "destinations", "pairs", "folders", "uids")
# Different things remembered of a unit, of each sort; the longest unseen are forgotten first.
MOST_KNOWN = 512
MOST_UNITS = 128
# Before a unit was seen in so many windows everything about it would be new; the machine's profile stands in.
ACQUAINTED = 3
# Of a window in the moving mean: half of what was usual is forgotten after about 35 windows.
WEIGHT = 0.02


def fingerprint(thing: object) -> str:
    """64 bits that stand for a name: a profile need not keep kilobytes of paths."""
    return hashlib.blake2b(str(thing).encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


@dataclass
class Profile:
    """What one unit, or the whole machine, did so far.

    Attributes:
        windows: how many it was made from.
        usual: moving mean of log(1 + events) in a window, of each group of kinds.
        known: fingerprints of each sort, the longest unseen first.
    """

    windows: int = 0
    usual: dict[str, float] = field(default_factory=lambda: dict.fromkeys(GROUPS, 0.0))
    known: dict[str, OrderedDict[str, None]] = field(default_factory=lambda: {sort: OrderedDict() for sort in SORTS})

    def is_new(self, sort: str, thing: object) -> bool:
        """Whether it was never seen, or forgotten since."""
        return fingerprint(thing) not in self.known[sort]

    def learn(self, window: Window) -> None:
        """Remember what the window saw."""
        self.windows += 1
        # A plain mean until there is enough for a moving one: zeros at the start are nobody's habit.
        weight = max(WEIGHT, 1 / self.windows)
        for group in GROUPS:
            self.usual[group] += weight * (math.log1p(group_count(window, group)) - self.usual[group])
        for sort in SORTS:
            known = self.known[sort]
            for thing in getattr(window, sort):
                mark = fingerprint(thing)
                known[mark] = None
                known.move_to_end(mark)
            while len(known) > MOST_KNOWN:
                known.popitem(last=False)


def group_count(window: Window, group: str) -> int:
    """How many of the window's events are of a group's kinds."""
    return sum(window.kinds[kind] for kind in GROUPS[group])


class Profiles:
    """The machine's profile and those of its units; the longest idle unit of too many is forgotten."""

    def __init__(self) -> None:
        self.machine = Profile()
        self._units: OrderedDict[str, Profile] = OrderedDict()

    def __len__(self) -> int:
        return len(self._units)

    def reference(self, unit: str) -> Profile:
        """What a unit's window is compared with: its own profile, or the machine's while it is hardly known."""
        profile = self._units.get(unit)
        return profile if profile and profile.windows >= ACQUAINTED else self.machine

    def learn(self, window: Window) -> None:
        """Remember what the window saw, for its unit and for the machine."""
        self.machine.learn(window)
        self._units.setdefault(window.unit, Profile()).learn(window)
        self._units.move_to_end(window.unit)
        while len(self._units) > MOST_UNITS:
            self._units.popitem(last=False)

    def to_json(self) -> Mapping[str, object]:
        """What :meth:`from_json` reads."""
        return {
            "machine": _to_json(self.machine),
            "units": [[name, _to_json(item)] for name, item in self._units.items()],
        }

    @classmethod
    def from_json(cls, told: Mapping[str, object]) -> Profiles:
        """Read what :meth:`to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        profiles = cls()
        profiles.machine = _from_json(told["machine"])
        profiles._units = OrderedDict((str(name), _from_json(item)) for name, item in told["units"])
        return profiles


def _to_json(profile: Profile) -> Mapping[str, object]:
    known = {sort: list(marks) for sort, marks in profile.known.items()}
    return {"windows": profile.windows, "usual": profile.usual, "known": known}


def _from_json(told: Mapping[str, object]) -> Profile:
    usual = {group: float(told["usual"][group]) for group in GROUPS}
    return Profile(int(told["windows"]), usual, {sort: _marks(told["known"][sort]) for sort in SORTS})


def _marks(told: Iterable[object]) -> OrderedDict[str, None]:
    return OrderedDict((str(mark), None) for mark in told)
