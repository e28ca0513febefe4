"""What to change, from what is seen: a pure function, so that traces can be replayed and every change explained.

Weights (cpu, io): a unit that somebody waits for and whose pressure is above its target for :data:`HOT` looks gets
half as much weight again, up to its bound, while batch takes part. When all it may have is not enough, batch gives up
a third of its weight. When pressure is below half of the target for long enough, the way goes back: batch first.

Memory: batch alone gives. Its memory.high goes down by tenths while others wait for memory, never below what it works
with, and up by quarters when it suffers itself or the others do not any more.

Whoever asks for help again soon after a step back was taken waits twice as long for the next step back, so that a load
which only just needs the help does not make the values swing. What had to be relieved is left alone as long.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from .units import MEBIBYTE, UNLIMITED, Bounds, Knob, Unit

HOT = 2  # looks in succession above the target until something is done
CALM = 6  # looks in succession below half of the target until a step is taken back
MOST_CALM = 96  # the same after many relapses
RELAPSE = 24  # looks after a step back within which asking again is a relapse
COOL_DOWN = 2  # looks between two changes of the same knob: avg10 needs about that to tell what the last one did
UP, DOWN = 1.5, 1 / 1.5
SQUEEZE, RELEASE = 0.9, 1.25
# Percent. A batch unit whose tasks all wait for memory so often is relieved, whatever the others want: systemd-oomd
# would act next.
SUFFERING = 20.0
MINUTE = 60.0
Key = tuple[str, Knob]


@dataclass(frozen=True)
class Seen:
    """One unit at one moment; units that are not there are not seen.

    Attributes:
        pressure: percent of the last ten seconds: cpu and io ``some``, memory ``full``; of what can be read.
        static: values that unit files give; of the knobs that can be set here and now.
        takes: does it take a part of that resource worth having? Memory: bytes it holds, below.
        memory: bytes in use; ``working``: of those, what it cannot do without.
        own_limit: it ran into its own memory limit: others are not to blame. One within it does not count.
    """

    pressure: Mapping[Knob, float]
    static: Mapping[Knob, int]
    takes: Mapping[Knob, bool] = field(default_factory=dict)
    memory: int = 0
    working: int = 0
    own_limit: bool = False


@dataclass(frozen=True)
class Track:
    """What is remembered of one knob of one unit. Counts are of looks; ``value`` None is the static one."""

    value: int | None = None
    hot: int = 0
    calm: int = 0
    patience: int = CALM
    since_change: int = COOL_DOWN
    since_back: int = RELAPSE + 1
    since_relief: int = MOST_CALM


@dataclass(frozen=True)
class State:
    """All that is remembered: tracks, and the times in seconds of the changes of the last minute."""

    tracks: Mapping[Key, Track] = field(default_factory=dict)
    changed: tuple[float, ...] = ()


Direction = Literal["help", "back", "relief"]


@dataclass(frozen=True)
class Change:
    """One change of one knob; ``after`` None is back to the static value."""

    unit: str
    knob: Knob
    before: int
    after: int | None
    direction: Direction
    reason: str


def decide(
    units: Sequence[Unit], seen: Mapping[str, Seen], state: State, now: float, per_minute: int
) -> tuple[State, list[Change]]:
    """What to do at this look.

    Args:
        seen: by name; of the declared units that are there.
        now: seconds of a clock that never goes back.
        per_minute: most changes within any 60 seconds. The last one is left for relief.

    Returns:
        What to remember when all changes are made, and the changes.
    """
    tracks = {key: _counted(units, seen, key, state.tracks.get(key, Track())) for key in _keys(units, seen)}
    there = [unit for unit in units if unit.name in seen]
    wanted = [
        *_weights(there, seen, tracks, "cpu"),
        *_weights(there, seen, tracks, "io"),
        *_memory(there, seen, tracks),
    ]
    # Whoever suffers from what we did comes first, then who asks for help; giving back has time.
    wanted.sort(key=lambda change: ("relief", "help", "back").index(change.direction))
    recent = tuple(time for time in state.changed if now - time < MINUTE)
    made: list[Change] = []
    for change in wanted:
        room = per_minute - len(recent) - len(made)
        if room > (1 if per_minute > 1 and change.direction != "relief" else 0):
            made.append(change)
            tracks[change.unit, change.knob] = _changed(tracks[change.unit, change.knob], change)
    return State(tracks, recent + (now,) * len(made)), made


def _keys(units: Sequence[Unit], seen: Mapping[str, Seen]) -> list[Key]:
    return [
        (unit.name, knob)
        for unit in units
        if unit.name in seen
        for knob in dict.fromkeys([*unit.bounds, *unit.targets])
        if knob in seen[unit.name].static or knob in unit.targets
    ]


def _counted(units: Sequence[Unit], seen: Mapping[str, Seen], key: Key, track: Track) -> Track:
    """The track one look later."""
    name, knob = key
    unit = next(unit for unit in units if unit.name == name)
    if unit.waits:
        hot, calm = _state_of(unit, seen, knob, units)
    else:
        states = [_state_of(u, seen, knob, units) for u in units if u.waits and u.name in seen and knob in u.targets]
        hot, calm = any(hot for hot, _ in states), all(calm for _, calm in states)
    track = replace(
        track,
        hot=track.hot + 1 if hot else 0,
        calm=track.calm + 1 if calm else 0,
        since_change=track.since_change + 1,
        since_back=track.since_back + 1,
        since_relief=track.since_relief + 1,
    )
    # Long at rest: what went before says nothing about what comes.
    if track.value is None and track.calm >= 2 * track.patience:
        track = replace(track, patience=CALM)
    return track


def _state_of(unit: Unit, seen: Mapping[str, Seen], knob: Knob, units: Sequence[Unit]) -> tuple[bool, bool]:
    """Whether a unit is above its target, and others could make room; and whether it is calm."""
    look = seen[unit.name]
    pressure, target = look.pressure.get(knob), unit.targets[knob]
    if pressure is None:
        return False, True
    if knob == "memory":
        blame = not look.own_limit
    else:
        blame = any(seen[u.name].takes.get(knob, False) for u in units if not u.waits and u.name in seen)
    # Where no batch takes part, more weight would take from nobody that may be asked.
    return pressure > target and blame, pressure < target / 2 or not blame


def _weights(units: Sequence[Unit], seen: Mapping[str, Seen], tracks: Mapping[Key, Track], knob: Knob) -> list[Change]:
    changes: list[Change] = []
    movable = [unit for unit in units if knob in unit.bounds and knob in seen[unit.name].static]
    batch = [unit for unit in movable if not unit.waits]
    lowered = any(tracks[unit.name, knob].value is not None for unit in batch)
    unsatisfied = ""
    for unit in (unit for unit in units if unit.waits and knob in unit.targets):
        track = tracks[unit.name, knob]
        told = f"{knob} pressure of {unit.name} {seen[unit.name].pressure.get(knob, 0):.1f} %"
        value = _value(seen, track, unit, knob)
        if track.hot >= HOT:
            if unit in movable and value < unit.bounds[knob].high:
                after = _raised(value, unit.bounds[knob])
                changes += _step(track, unit, knob, value, after, "help", f"{told}, above {unit.targets[knob]:g} %")
            else:
                more = "its weight is the largest allowed" if unit in movable else "its weight may not be set"
                unsatisfied = f"{told}, above {unit.targets[knob]:g} %, and {more}"
        elif track.value is not None and track.calm >= track.patience and not lowered:
            after = _nearer(value, seen[unit.name].static[knob])
            changes += _step(track, unit, knob, value, after, "back", f"{told}, {_calm(track)}")
    for unit in batch:
        track, static = tracks[unit.name, knob], seen[unit.name].static[knob]
        value = _value(seen, track, unit, knob)
        if unsatisfied:
            after = unit.bounds[knob].hold(math.floor(value * DOWN))
            changes += _step(track, unit, knob, value, after, "help", unsatisfied)
        elif track.value is not None and track.calm >= track.patience:
            after = _nearer(value, static)
            changes += _step(
                track, unit, knob, value, after, "back", f"{knob} pressure of the others is {_calm(track)}"
            )
    return changes


def _memory(units: Sequence[Unit], seen: Mapping[str, Seen], tracks: Mapping[Key, Track]) -> list[Change]:
    changes: list[Change] = []
    needy = [unit for unit in units if "memory" in unit.targets and tracks[unit.name, "memory"].hot >= HOT]
    for unit in units:
        look = seen[unit.name]
        if unit.waits or "memory" not in unit.bounds or "memory" not in look.static:
            continue
        bounds, track = unit.bounds["memory"], tracks[unit.name, "memory"]
        value = _value(seen, track, unit, "memory")
        # A tenth more than it works with, in whole MiB.
        floor = max(bounds.low, _whole(look.working * 11 / 10))
        own = look.pressure.get("memory", 0.0)
        if track.value is not None and (value < floor or own > SUFFERING):
            after = _released(max(value * RELEASE, floor), look, bounds)
            worked = f"works with {look.working >> 20} MiB and waits for memory {own:.1f} % of the time"
            changes += _step(track, unit, "memory", value, after, "relief", f"{unit.name} {worked}")
        elif needy and track.since_relief >= track.patience:
            after = max(floor, min(bounds.high, int(min(value, look.memory) * SQUEEZE) // MEBIBYTE * MEBIBYTE))
            # Above what it holds a limit takes nothing away.
            if after < min(value, look.memory) and after <= bounds.high:
                asks = needy[0]
                told = f"memory pressure of {asks.name} {seen[asks.name].pressure['memory']:.1f} %"
                told += f", above {asks.targets['memory']:g} %; {unit.name} holds {look.memory >> 20} MiB"
                changes += _step(
                    track, unit, "memory", value, after, "help", f"{told}, works with {look.working >> 20}"
                )
        elif track.value is not None and track.calm >= track.patience:
            after = _released(value * RELEASE, look, bounds)
            told = f"memory pressure of the others is {_calm(track)}"
            changes += _step(track, unit, "memory", value, after, "back", told)
    return changes


def _value(seen: Mapping[str, Seen], track: Track, unit: Unit, knob: Knob) -> int:
    return seen[unit.name].static.get(knob, 0) if track.value is None else track.value


def _raised(value: int, bounds: Bounds) -> int:
    return bounds.hold(math.ceil(value * UP))


def _nearer(value: int, static: int) -> int | None:
    """One step from a weight to its static value; None when that is reached."""
    if value > static:
        after = math.floor(value / UP)
        return after if after > static else None
    after = math.ceil(value / DOWN)
    return after if after < static else None


def _released(wanted: float, look: Seen, bounds: Bounds) -> int | None:
    """A memory limit that went up; None when it limits nothing any more, or may not be set so high."""
    after = _whole(wanted)
    free = after >= 2 * look.memory and after > bounds.low
    return None if free or after > bounds.high or after >= look.static["memory"] else max(after, bounds.low)


def _whole(amount: float) -> int:
    """Bytes, rounded up to whole MiB."""
    return math.ceil(amount / MEBIBYTE) * MEBIBYTE


def _calm(track: Track) -> str:
    return f"below half of what is allowed for {track.calm} looks"


def _step(
    track: Track, unit: Unit, knob: Knob, value: int, after: int | None, direction: Direction, reason: str
) -> list[Change]:
    """The change, if it is one and the last one is long enough ago."""
    if after == value or (after is None and track.value is None):
        return []
    if track.since_change < COOL_DOWN and direction != "relief":
        return []
    return [Change(unit.name, knob, value, after, direction, reason)]


def _changed(track: Track, change: Change) -> Track:
    patience = track.patience
    relief = change.direction == "relief"
    if relief or (change.direction == "help" and track.since_back <= RELAPSE):
        patience = min(MOST_CALM, 2 * patience)
    # A step back is followed by the next after as long a rest; a step forward after the cool-down.
    back = change.direction == "back"
    return replace(
        track,
        value=change.after,
        calm=0 if back else track.calm,
        patience=patience,
        since_change=0,
        since_back=0 if back else track.since_back,
        since_relief=0 if relief else track.since_relief,
    )


def text_of(knob: Knob, value: int) -> str:
    """A value as systemd writes it."""
    return "infinity" if knob == "memory" and value >= UNLIMITED else str(value)
