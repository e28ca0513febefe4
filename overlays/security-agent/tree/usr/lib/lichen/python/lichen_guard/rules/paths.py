"""Which files a rule is about: what the sensor has to watch so that the rule sees what it waits for."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ..event import Kind
from ..watch import Interest, Watch
from .fields import O_RDWR
from .kinds import CHANGES
from .settle import Circumstance, settle
from .tree import And, Check, Node, Not, Or

# Fields that hold a path of the event. The sensor looks at both paths of renames and links.
PATHS = frozenset(
    {
        *("file.path", "fd.name", "fs.path.name", "fs.path.source", "fs.path.target"),
        *(f"evt.arg.{name}" for name in ("name", "path", "filename", "oldpath", "newpath", "linkpath")),
    }
)
WILD = re.compile(r"[*?\[]")
# What the sensor's maps hold: a name, a path with a slash at its end.
LONGEST_NAME = 63
LONGEST_PREFIX = 254
# Every open below these would be told; no rule is worth that.
EVERYTHING = ("/", "/usr", "/proc", "/sys", "/dev", "/home", "/var", "/srv", "/opt", "/lib", "/run")

Spot = tuple[Literal["prefix", "name"], str]


@dataclass(frozen=True)
class Bound:
    """Where the files are that can match.

    Attributes:
        spots: prefixes and names.
        gaps: files that match but are at none of the spots, in words; empty when the spots hold all.
    """

    spots: frozenset[Spot]
    gaps: tuple[str, ...] = ()

    @property
    def breadth(self) -> tuple[bool, int]:
        """The smaller the better."""
        return bool(self.gaps), sum(_breadth(spot) for spot in self.spots)


def _breadth(spot: Spot) -> int:
    place, value = spot
    if place == "name":
        return 2
    return 1000 if value in EVERYTHING else max(1, 30 // max(value.count("/"), 1) ** 2)


def bound(node: Node, kind: Kind, *, negated: bool = False) -> Bound | None:
    """Where a condition's files are; None when they may be anywhere."""
    match node:
        case Not(part):
            return bound(part, kind, negated=not negated)
        case And(parts) | Or(parts):
            found = [bound(part, kind, negated=negated) for part in parts]
            if isinstance(node, And) != negated:  # all of them hold: the narrowest will do
                return min((one for one in found if one), key=lambda one: one.breadth, default=None)
            return _union(found)
        case Check() if not negated:
            return _of_check(node, kind)
    return None


def _union(found: Iterable[Bound | None]) -> Bound | None:
    spots: set[Spot] = set()
    gaps: dict[str, None] = {}
    for one in found:
        if one is None:
            return None
        spots |= one.spots
        gaps |= dict.fromkeys(one.gaps)
    return Bound(frozenset(spots), tuple(gaps))


def _of_check(check: Check, kind: Kind) -> Bound | None:
    if check.field == "fs.path.target" and kind == "symlink":  # what a link says is no place where it is
        return None
    reader = _READERS.get("path" if check.field in PATHS else check.field)
    return _union(reader(check.operator, word) for word in check.words) if reader and check.operands else None


def _prefix(path: str) -> Bound | None:
    path = path.rstrip("/")
    fits = path.startswith("/") and len(path.encode()) <= LONGEST_PREFIX
    return Bound(frozenset({("prefix", path)})) if fits else None


def _name(name: str, *gaps: str) -> Bound | None:
    if not name or "/" in name or WILD.search(name) or len(name.encode()) > LONGEST_NAME:
        return None
    return Bound(frozenset({("name", name)}), gaps)


def _of_path(operator: str, word: str) -> Bound | None:
    match operator:
        case "=" | "in" | "intersects":
            return _prefix(word)
        case "pmatch":
            return _prefix(word) if not WILD.search(word) else _of_pattern(word + "/*")
        case "startswith":
            return _of_start(word)
        case "endswith":
            _, slash, name = word.rpartition("/")
            return _name(name) if slash else _name(name, f"names that end in {word} but are longer")
        case "contains":
            inner = word.strip("/")
            if word == f"/{inner}/":
                return _name(inner.rpartition("/")[2], f"files deeper below {word} than directly in it")
        case "glob":
            return _of_pattern(word)
    return None


def _of_start(word: str) -> Bound | None:
    if word.endswith("/"):
        return _prefix(word)
    folder = word.rpartition("/")[0]
    if folder and folder not in EVERYTHING:
        return _prefix(folder)
    found = _prefix(word)
    return Bound(found.spots, (f"paths that go on after {word} without a slash",)) if found else None


def _of_pattern(word: str) -> Bound | None:
    parts = word.split("/")
    named = _name(parts[-1])
    if named:
        return named
    wild = next((at for at, part in enumerate(parts) if WILD.search(part)), len(parts))
    head = _prefix("/".join(parts[:wild]))
    if head and not any(value in EVERYTHING for _, value in head.spots):
        return head
    # The pattern's last star fits slashes too.
    return _name(parts[-2], f"files deeper below {parts[-2]}/ than directly in it") if len(parts) > 1 else None


def _of_directory(operator: str, word: str) -> Bound | None:
    if operator == "endswith":
        _, slash, name = word.rpartition("/")
        return _name(name) if slash else _name(name, f"folders whose names end in {word} but are longer")
    return _of_path(operator, word) if operator in ("=", "in", "intersects", "pmatch", "startswith", "glob") else None


def _of_filename(operator: str, word: str) -> Bound | None:
    if operator in ("=", "in", "intersects"):
        return _name(word)
    return _name(word, f"names that end in {word} but are longer") if operator == "endswith" else None


_READERS = {"path": _of_path, "fd.directory": _of_directory, "fd.filename": _of_filename}


def interest_of(circumstance: Circumstance) -> Interest:
    """What the sensor has to tell so that such events come; nothing for events that come anyway."""
    if circumstance.kind == "open":
        return (Interest.READ, Interest.WRITE, Interest.WRITE, Interest(0))[circumstance.access]
    if circumstance.kind in CHANGES:
        return Interest.CHANGE
    return Interest.REMOVE if circumstance.kind == "unlink" else Interest(0)


def wanted(condition: Node, circumstances: Iterable[Circumstance]) -> tuple[dict[Spot, Interest], tuple[str, ...]]:
    """Where a rule's files are and what of them it waits for; and what it will not be told, in words."""
    spots: dict[Spot, Interest] = {}
    gaps: dict[str, None] = {}
    for circumstance in circumstances:
        interest = interest_of(circumstance)
        if not interest:
            continue
        found = bound(settle(condition, circumstance), circumstance.kind)
        if found is None:
            gaps[f"{_words(circumstance)} of files at any path"] = None
            continue
        gaps |= dict.fromkeys(found.gaps)
        for spot in found.spots:
            known = spots.get(spot, Interest(0))
            # An open to read and write is told to who wants either.
            either = circumstance.access == O_RDWR and known & (Interest.READ | Interest.WRITE)
            spots[spot] = known if either else known | interest
    return spots, tuple(gaps)


def _words(circumstance: Circumstance) -> str:
    if circumstance.kind != "open":
        return f"{circumstance.kind} events"
    return ("reads", "writes", "opens to read and write", "opens for neither")[circumstance.access]


def watches_of(spots: dict[Spot, Interest]) -> tuple[Watch, ...]:
    """The watches, in order. Of prefixes the longest decides, so each also has what those above it ask for."""
    found = []
    for (place, value), interest in sorted(spots.items()):
        for (other, above), more in spots.items():
            if place == other == "prefix" and value.startswith(above + "/"):
                interest |= more  # noqa: PLW2901 - that is what it is for
        found.append(Watch(place, value, interest))
    return tuple(found)
