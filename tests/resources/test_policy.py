"""The policy: traces replayed, a machine made up, and whatever hypothesis thinks of."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lichen_resources.policy import CALM, COOL_DOWN, HOT, MOST_CALM, Change, Seen, State, decide
from lichen_resources.units import MEBIBYTE, UNLIMITED, Unit, parse_units

TOTAL = 16 << 30
INTERVAL = 5.0
LINES = (
    "notebook classroom.slice cpu=50-400@20 io=50-400@20 memory@5",
    "inference inference.slice cpu=100-800@10 memory@5",
    "batch batch.slice cpu=5-100 io=5-100 memory=1G-90%",
)
UNITS = parse_units(LINES, TOTAL)
BY_NAME: Mapping[str, Unit] = {unit.name: unit for unit in UNITS}
STATIC: Mapping[str, Mapping[str, int]] = {
    "classroom.slice": {"cpu": 50, "io": 100},
    "inference.slice": {"cpu": 100},
    "batch.slice": {"cpu": 20, "io": 20, "memory": UNLIMITED},
}
NOTEBOOK, INFERENCE, BATCH = "classroom.slice", "inference.slice", "batch.slice"


def seen(name: str, **more: Any) -> Seen:
    pressure = {"cpu": 0.0, "io": 0.0, "memory": 0.0} | more.pop("pressure", {})
    takes = more.pop("takes", {"cpu": True, "io": True} if name == BATCH else {})
    return Seen(pressure, STATIC[name], takes, **more)


class Machine:
    """Looks again and again, keeps the values, and holds every promise up against them."""

    def __init__(self, units: Sequence[Unit] = UNITS, per_minute: int = 600) -> None:
        self.units, self.per_minute = units, per_minute
        self.state, self.now = State(), 0.0
        self.values = {(name, knob): value for name, knobs in STATIC.items() for knob, value in knobs.items()}
        self.changes: list[tuple[float, Change]] = []

    def look(self, *looks: tuple[str, Seen]) -> list[Change]:
        found = dict(looks)
        changes: list[Change]
        self.state, changes = decide(self.units, found, self.state, self.now, self.per_minute)
        for change in changes:
            key = change.unit, change.knob
            static = STATIC[change.unit][change.knob]
            assert change.before == self.values[key]
            assert change.after != change.before
            assert change.reason
            self.values[key] = static if change.after is None else change.after
            if change.after is not None:
                bounds = BY_NAME[change.unit].bounds[change.knob]
                assert bounds.low <= change.after <= bounds.high
            if change.knob == "memory" and change.direction == "help":
                assert self.values[key] >= found[change.unit].working
            self.changes.append((self.now, change))
        assert sum(1 for time, _ in self.changes if self.now - time < 60) <= self.per_minute
        self.now += INTERVAL
        return changes

    def weight(self, name: str) -> int:
        return self.values[name, "cpu"]


def waiting(cpu: float) -> tuple[str, Seen]:
    return NOTEBOOK, seen(NOTEBOOK, pressure={"cpu": cpu})


def test_who_waits_gets_more_weight_with_the_reason() -> None:
    machine = Machine()
    for _ in range(HOT - 1):
        assert machine.look(waiting(60.0), (BATCH, seen(BATCH))) == []
    (change,) = machine.look(waiting(60.0), (BATCH, seen(BATCH)))
    assert (change.unit, change.knob, change.before, change.after) == (NOTEBOOK, "cpu", 50, 75)
    assert change.reason == "cpu pressure of classroom.slice 60.0 %, above 20 %"


def test_a_change_is_given_time_to_show() -> None:
    machine = Machine()
    for _ in range(20):
        machine.look(waiting(60.0), (BATCH, seen(BATCH)))
    times = [time for time, change in machine.changes if change.unit == NOTEBOOK]
    assert min(later - time for time, later in itertools.pairwise(times)) == COOL_DOWN * INTERVAL


def test_batch_gives_only_when_more_weight_was_not_enough() -> None:
    machine = Machine()
    while machine.weight(NOTEBOOK) < 400:
        machine.look(waiting(60.0), (BATCH, seen(BATCH)))
        assert machine.now < 300
    assert machine.weight(BATCH) == 20
    for _ in range(40):
        machine.look(waiting(60.0), (BATCH, seen(BATCH)))
    assert machine.weight(BATCH) == 5
    assert "its weight is the largest allowed" in machine.changes[-1][1].reason
    # Back, batch first.
    for _ in range(20):
        machine.look(waiting(0.0), (BATCH, seen(BATCH)))
    assert machine.weight(BATCH) > 5
    assert machine.weight(NOTEBOOK) == 400
    for _ in range(400):
        machine.look(waiting(0.0), (BATCH, seen(BATCH)))
    assert machine.values == Machine().values


def test_nobody_is_asked_where_batch_takes_nothing() -> None:
    machine = Machine()
    for _ in range(20):
        assert machine.look(waiting(90.0), (BATCH, seen(BATCH, takes={"cpu": False}))) == []
        assert machine.look(waiting(90.0)) == []


def test_values_go_back_when_batch_is_gone() -> None:
    machine = Machine()
    for _ in range(10):
        machine.look(waiting(60.0), (BATCH, seen(BATCH)))
    assert machine.weight(NOTEBOOK) > 50
    for _ in range(100):
        machine.look(waiting(90.0))
    assert machine.weight(NOTEBOOK) == 50


def test_pressure_between_half_and_whole_target_changes_nothing() -> None:
    machine = Machine()
    for _ in range(2 * HOT):
        machine.look(waiting(60.0), (BATCH, seen(BATCH)))
    held = machine.weight(NOTEBOOK)
    for _ in range(200):
        assert machine.look(waiting(15.0), (BATCH, seen(BATCH))) == []
    assert machine.weight(NOTEBOOK) == held > 50


def test_a_moment_changes_nothing() -> None:
    machine = Machine()
    for _ in range(50):
        assert machine.look(waiting(90.0), (BATCH, seen(BATCH))) == []
        assert machine.look(waiting(0.0), (BATCH, seen(BATCH))) == []


def test_inference_is_served_first_when_changes_are_few() -> None:
    machine = Machine(per_minute=2)
    both = (waiting(90.0), (INFERENCE, seen(INFERENCE, pressure={"cpu": 90.0})), (BATCH, seen(BATCH)))
    changes = [change for _ in range(HOT + 2) for change in machine.look(*both)]
    assert [change.unit for change in changes] == [INFERENCE]


# A machine made up: processors shared by weight, pressure by what is missing, PSI's mean of ten seconds.


class Processors:
    def __init__(self, machine: Machine) -> None:
        self.machine, self.pressure = machine, 0.0

    def look(self, wanted: float, batch: float) -> list[Change]:
        """``wanted``, ``batch``: shares of the machine that notebooks and batch would take."""
        weight, others = self.machine.weight(NOTEBOOK), self.machine.weight(BATCH)
        fair = weight / (weight + others) if batch else 1.0
        got = min(wanted, max(fair, 1.0 - batch))
        missing = 100.0 * (1 - got / wanted) if wanted else 0.0
        self.pressure += (missing - self.pressure) * (1 - 2.718281828 ** (-INTERVAL / 10))
        takes = {"cpu": batch > 0.05}
        return self.machine.look(waiting(self.pressure), (BATCH, seen(BATCH, takes=takes)))


@pytest.mark.parametrize("wanted", [0.5, 0.75, 0.85, 0.9, 0.95, 1.0])
def test_it_converges_without_swinging(wanted: float) -> None:
    processors = Processors(machine := Machine())
    for _ in range(2000):
        processors.look(wanted, 1.0)
    late = [change for time, change in machine.changes if time > 1000 * INTERVAL]
    # At most one step back tried and taken again in the longest patience.
    assert len(late) <= 2 * (1000 / MOST_CALM) + 2
    assert processors.pressure <= 20.0 or machine.weight(NOTEBOOK) == 400
    for _ in range(3000):
        processors.look(0.0, 1.0)
    assert machine.values == Machine().values
    assert all(track.patience == CALM for track in machine.state.tracks.values())


def test_trace_of_a_day_ends_where_it_began() -> None:
    """Replayed: students come, a job runs all the time, they go for lunch, come again, go home."""
    processors = Processors(machine := Machine(per_minute=6))
    for share, looks in ((0.2, 200), (0.9, 500), (0.1, 300), (0.95, 500), (0.0, 1500)):
        for _ in range(looks):
            processors.look(share, 1.0)
    assert machine.values == Machine().values
    assert len(machine.changes) < 120


# Memory


def short(pressure: float = 20.0, **more: Any) -> tuple[str, Seen]:
    return NOTEBOOK, seen(NOTEBOOK, pressure={"memory": pressure}, **more)


def holding(memory: int, working: int, pressure: float = 0.0) -> tuple[str, Seen]:
    looked = seen(BATCH, pressure={"memory": pressure}, memory=memory << 20, working=working << 20)
    return BATCH, looked


def limit(machine: Machine) -> int:
    value: int = machine.values[BATCH, "memory"] // MEBIBYTE
    return value


def test_batch_gives_what_it_does_not_work_with_step_by_step() -> None:
    machine = Machine()
    held = 10000
    for _ in range(100):
        machine.look(short(), holding(held, 4000))
        held = min(held, limit(machine))
    assert limit(machine) == 4400
    steps = [change for _, change in machine.changes]
    assert len(steps) > 5
    assert all(c.direction == "help" for c in steps)
    assert "memory pressure of classroom.slice 20.0 %, above 5 %; batch.slice holds 10000 MiB" in steps[0].reason
    for _ in range(300):
        machine.look(short(0.0), holding(held, 4000))
    assert machine.values == Machine().values
    assert len(machine.changes) > len(steps) + 1


def test_limit_is_never_below_its_bound() -> None:
    machine = Machine()
    for _ in range(100):
        machine.look(short(), holding(min(3000, limit(machine)), 100))
    assert limit(machine) == 1024


def test_batch_that_needs_all_it_has_is_left_alone() -> None:
    machine = Machine()
    for _ in range(50):
        assert machine.look(short(), holding(4000, 3900)) == []


def test_batch_that_holds_more_than_the_largest_limit_gets_that_one() -> None:
    machine = Machine()
    for _ in range(HOT):
        machine.look(short(), holding(16384, 4000))
    assert limit(machine) == 16384 * 9 // 10


def test_limit_of_its_own_is_nobody_elses_fault() -> None:
    machine = Machine()
    for _ in range(50):
        assert machine.look(short(90.0, own_limit=True), holding(10000, 1000)) == []


def test_batch_that_suffers_is_relieved_at_once_and_left_alone_for_a_while() -> None:
    machine = Machine()
    for _ in range(HOT):
        machine.look(short(), holding(10000, 4000))
    assert limit(machine) == 9000
    (change,) = machine.look(short(), holding(9000, 4000, pressure=30.0))
    assert change.direction == "relief"
    assert limit(machine) == 11250
    quiet = [machine.look(short(), holding(9000, 4000)) for _ in range(CALM)]
    assert quiet == [[]] * CALM


def test_working_set_that_grows_is_let_grow() -> None:
    machine = Machine()
    for _ in range(40):
        machine.look(short(), holding(min(10000, limit(machine)), 4000))
    machine.look(short(), holding(limit(machine), 6000))
    assert limit(machine) >= 6600


def test_relief_is_possible_when_all_other_changes_are_spent() -> None:
    machine = Machine(per_minute=3)
    for _ in range(6):
        machine.look(short(), holding(min(10000, limit(machine)), 2000))
    assert len(machine.changes) == 2
    (change,) = machine.look(short(), holding(8000, 2000, pressure=50.0))
    assert change.direction == "relief"


# Whatever comes

PRESSURES = st.floats(0, 100, allow_nan=False)


@st.composite
def looks(draw: Callable[..., Any]) -> list[tuple[str, Seen]]:
    found = []
    for name in (NOTEBOOK, INFERENCE, BATCH):
        if draw(st.integers(0, 9)) == 0:
            continue  # the unit has gone
        readable = draw(st.sets(st.sampled_from(["cpu", "io", "memory"])))
        pressure = {knob: draw(PRESSURES) for knob in readable}
        memory = draw(st.integers(0, TOTAL))
        takes = {"cpu": draw(st.booleans()), "io": draw(st.booleans())}
        working = draw(st.integers(0, memory))
        found.append((name, Seen(pressure, STATIC[name], takes, memory, working, draw(st.booleans()))))
    return found


@given(st.lists(st.tuples(looks(), st.integers(1, 8)), max_size=15), st.integers(1, 20))
@settings(deadline=None, max_examples=60)
def test_promises_hold_whatever_is_seen(trace: list[tuple[list[tuple[str, Seen]], int]], per_minute: int) -> None:
    """Bounds, floor, rate (all in Machine.look); cool-down; and static values again when all is quiet."""
    machine = Machine(per_minute=per_minute)
    last: dict[tuple[str, str], float] = {}
    for look in (look for look, times in trace for _ in range(times)):
        there = {name for name, _ in look}
        for name, knob in machine.values:
            if name not in there:  # as the agent does with units that have gone
                machine.values[name, knob] = STATIC[name][knob]
                last.pop((name, knob), None)
        for change in machine.look(*look):
            key = change.unit, change.knob
            if change.direction != "relief" and key in last:
                assert machine.now - INTERVAL - last[key] >= COOL_DOWN * INTERVAL
            last[key] = machine.now - INTERVAL
    for _ in range(1500):
        if machine.values == Machine().values:
            break
        machine.look(*((name, seen(name)) for name in STATIC))
    assert machine.values == Machine().values
