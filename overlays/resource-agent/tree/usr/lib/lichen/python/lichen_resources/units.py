"""The declared units: what each is for, and between which bounds its knobs may move.

A unit is one line, in the image's options as well as on the machine::

    notebook classroom.slice cpu=50-400@20 io=100-400@20 memory@5
    batch batch.slice cpu=5-100 io=5-100 memory=20%-100%

``notebook`` and ``inference`` wait for somebody; ``batch`` has time. ``cpu`` and ``io`` are weights as in CPUWeight=
and IOWeight=. ``@`` gives the pressure in percent above which something is done: the share of the last ten seconds in
which tasks waited for a processor or for a disk (``some``), or in which all of them waited for memory (``full``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

Role = Literal["inference", "notebook", "batch"]
Knob = Literal["cpu", "io", "memory"]
ROLES: tuple[Role, ...] = get_args(Role)
KNOBS: tuple[Knob, ...] = get_args(Knob)
# What systemd calls infinity, and what no memory limit of a machine reaches.
UNLIMITED = 1 << 63
MEBIBYTE = 1 << 20

# systemd's own letters; a name is an argument of systemctl and a part of paths, so nothing else passes.
_NAME = re.compile(r"[A-Za-z0-9:_.\\@][A-Za-z0-9:_.\\@-]{0,200}\.(?:slice|service|scope)")
_KNOB = re.compile(r"(cpu|io|memory)(?:=([^-@]+)-([^-@]+))?(?:@(\d{1,3}(?:\.\d{1,2})?))?")
_WEIGHT = re.compile(r"[1-9]\d{0,4}")
_SIZE = re.compile(r"([1-9]\d{0,8})([KMGT%]?)")
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class UnitError(ValueError):
    """A line cannot be used; the message says why and what to write."""


@dataclass(frozen=True)
class Bounds:
    """Smallest and largest value that the agent sets: weights, or bytes."""

    low: int
    high: int

    def hold(self, value: float) -> int:
        """The nearest value within the bounds."""
        return min(self.high, max(self.low, round(value)))


@dataclass(frozen=True)
class Unit:
    """One declared unit.

    Attributes:
        bounds: of the knobs that may move.
        targets: pressure in percent above which others make room; of units that wait for somebody only.
    """

    name: str
    role: Role
    bounds: Mapping[Knob, Bounds]
    targets: Mapping[Knob, float]

    @property
    def waits(self) -> bool:
        """Whether somebody waits for what it does."""
        return self.role != "batch"


def parse_units(lines: Sequence[str], memory_total: int) -> tuple[Unit, ...]:
    """The units of all lines; inference comes before notebooks, for that is the order in which they are served.

    Args:
        memory_total: bytes that percentages refer to.

    Raises:
        UnitError: some are malformed; the message has a line for each of them.
    """
    units: list[Unit] = []
    problems: list[str] = []
    for line in lines:
        try:
            unit = parse_unit(line, memory_total)
        except UnitError as error:
            problems.append(f"unit {line!r}: {error}")
            continue
        if unit.name in (other.name for other in units):
            problems.append(f"unit {line!r}: {unit.name} is declared twice; remove one of both lines")
        units.append(unit)
    if problems:
        raise UnitError("\n".join(problems))
    return tuple(sorted(units, key=lambda unit: ROLES.index(unit.role)))


def parse_unit(line: str, memory_total: int) -> Unit:
    """One line.

    Raises:
        UnitError: it is malformed.
    """
    role, _, rest = line.strip().partition(" ")
    name, *words = rest.split() or [""]
    if role not in ROLES:
        raise UnitError(f"begins with {role!r}; write one of {', '.join(ROLES)}, then the unit's name")
    if not _NAME.fullmatch(name):
        raise UnitError(f"{name!r} is no name of a slice, service or scope; write one as systemctl shows it")
    unit = Unit(name, role, {}, {})
    for word in words:
        unit = _with_knob(unit, word, memory_total)
    if not unit.bounds and not unit.targets:
        raise UnitError("declares no knob; write cpu=MIN-MAX, io=MIN-MAX or memory")
    return unit


def _with_knob(unit: Unit, word: str, memory_total: int) -> Unit:
    match = _KNOB.fullmatch(word)
    if not match:
        raise UnitError(f"{word!r} is not understood; write cpu=MIN-MAX@PERCENT, io=MIN-MAX@PERCENT or memory@PERCENT")
    knob: Knob = match[1]
    if knob in unit.bounds or knob in unit.targets:
        raise UnitError(f"{knob} is there twice; remove one")
    bounded, target = match[2] is not None, match[4]
    if (complaint := _complaint(unit, knob, bounded, target)) is not None:
        raise UnitError(complaint)
    bounds, targets = dict(unit.bounds), dict(unit.targets)
    if bounded:
        low, high = (_number(knob, text, memory_total) for text in (match[2], match[3]))
        if low > high:
            raise UnitError(f"{word!r}: the smallest value is larger than the largest; exchange them")
        bounds[knob] = Bounds(low, high)
    if target is not None:
        targets[knob] = float(target)
        if not 0 < targets[knob] <= 100:
            raise UnitError(f"{word!r}: a pressure is more than 0 and at most 100 percent")
    return replace(unit, bounds=bounds, targets=targets)


def _complaint(unit: Unit, knob: Knob, bounded: bool, target: str | None) -> str | None:
    if not unit.waits:
        if target is not None:
            return f"{knob} has a pressure; that of batch decides nothing: remove it"
        return None if bounded else f"{knob} has no bounds; write {knob}=MIN-MAX"
    if target is None:
        return f"{knob} has no pressure; write one in percent after @"
    if knob == "memory" and bounded:
        return "memory has bounds; memory is taken from batch only: write memory@PERCENT"
    if knob != "memory" and not bounded:
        return f"{knob} has no bounds; write {knob}=MIN-MAX@PERCENT"
    return None


def _number(knob: Knob, text: str, memory_total: int) -> int:
    if knob != "memory":
        if not _WEIGHT.fullmatch(text) or int(text) > 10000:
            raise UnitError(f"{text!r} is no weight; write a number from 1 to 10000")
        return int(text)
    match = _SIZE.fullmatch(text)
    if not match or (match[2] == "%" and int(match[1]) > 100):
        raise UnitError(f"{text!r} is no size; write a number with K, M, G or T, or a percentage of the memory")
    amount = int(match[1]) * memory_total // 100 if match[2] == "%" else int(match[1]) * _UNITS[match[2]]
    return max(MEBIBYTE, amount // MEBIBYTE * MEBIBYTE)
