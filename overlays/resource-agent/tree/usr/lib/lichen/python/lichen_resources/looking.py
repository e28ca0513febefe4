"""One look at all declared units: what systemd says of them, what their cgroups say, what follows for the policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .policy import Seen
from .pressure import Cgroup, Pressure, io_weight_works
from .record import Kept
from .systemd import Shown, parse_value
from .units import UNLIMITED, Knob, Unit

# Shares and rates from which on batch takes part: less would help nobody if it were given up.
TAKES_PROCESSORS = 0.05
TAKES_DISK = 1 << 20  # bytes per second
TAKES_DISK_PRESSURE = 1.0  # percent; where nobody counts its bytes
NEAR_LIMIT = 0.95


@dataclass
class Counts:
    """What grows, as it was at the last look."""

    time: float
    processor: int
    disk: int
    limits: int


@dataclass(frozen=True)
class Look:
    """What one look found.

    Attributes:
        seen: for the policy; by name.
        pressures: all of it; ``actual``: what the cgroups have, to be compared with what was set.
        notes: by unit, why something is not adjusted.
    """

    seen: Mapping[str, Seen]
    pressures: Mapping[str, Mapping[Knob, Pressure]]
    actual: Mapping[tuple[str, Knob], int]
    notes: Mapping[str, Sequence[str]]


@dataclass
class Looker:
    """Looks at the units.

    Args:
        root: where the unified hierarchy is mounted.
        processors: of the machine.
    """

    units: Sequence[Unit]
    root: Path
    processors: int
    sys: Path = Path("/sys")
    _before: dict[str, Counts] = field(default_factory=dict)

    def look(self, shown: Mapping[str, Shown], kept: Mapping[tuple[str, Knob], Kept], now: float) -> Look:
        """Look once.

        Args:
            shown: what systemd said lately.
            kept: static values that were overridden; of the others, what systemd says is static.
            now: seconds of a clock that never goes back.
        """
        seen: dict[str, Seen] = {}
        pressures: dict[str, Mapping[Knob, Pressure]] = {}
        actual: dict[tuple[str, Knob], int] = {}
        notes: dict[str, list[str]] = {}
        io_works = io_weight_works(self.root, self.sys)
        controllers = (self.root / "cgroup.controllers").read_text(encoding="ascii").split()
        for unit in self.units:
            unit_shown = shown.get(unit.name)
            try:
                why = self._absent(unit_shown)
                if why or unit_shown is None:
                    notes[unit.name] = [why]
                    self._before.pop(unit.name, None)
                    continue
                cgroup = Cgroup(self.root, unit_shown.cgroup)
                static, notes[unit.name] = _static(unit, unit_shown, kept, controllers, io_works)
                pressures[unit.name] = cgroup.pressures()
                if not pressures[unit.name]:
                    notes[unit.name].append("its pressure is not counted: cgroup.pressure is 0")
                for knob in static:
                    if (value := cgroup.value(knob)) is not None:
                        actual[unit.name, knob] = value
                seen[unit.name] = self._seen(unit, cgroup, static, pressures[unit.name], now)
            except FileNotFoundError:
                notes[unit.name] = ["its cgroup has just gone"]
        return Look(seen, pressures, actual, notes)

    def _absent(self, shown: Shown | None) -> str:
        if shown is None:
            return "systemd has not been asked yet"
        if shown.state not in ("active", "reloading"):
            return f"not adjusted: {shown.state}"
        if not shown.cgroup or not Cgroup(self.root, shown.cgroup).exists():
            return "not adjusted: it has no cgroup"
        return ""

    def _seen(
        self, unit: Unit, cgroup: Cgroup, static: Mapping[Knob, int], pressures: Mapping[Knob, Pressure], now: float
    ) -> Seen:
        memory, working = cgroup.memory()
        counts = Counts(now, cgroup.processor_time(), cgroup.disk_bytes(), cgroup.limit_events())
        before = self._before.get(unit.name, counts)
        self._before[unit.name] = counts
        seconds = max(now - before.time, 1e-3)
        processors = (counts.processor - before.processor) / 1e6 / seconds / self.processors
        disk = (counts.disk - before.disk) / seconds
        waits_for_disk = "io" in pressures and pressures["io"].some > TAKES_DISK_PRESSURE
        near = any(memory >= limit * NEAR_LIMIT for limit in cgroup.limits())
        return Seen(
            {knob: p.full if knob == "memory" else p.some for knob, p in pressures.items()},
            static,
            {"cpu": processors > TAKES_PROCESSORS, "io": disk > TAKES_DISK or waits_for_disk},
            memory,
            working,
            near or counts.limits > before.limits,
        )


def _static(
    unit: Unit,
    shown: Shown,
    kept: Mapping[tuple[str, Knob], Kept],
    controllers: Sequence[str],
    io_works: bool,
) -> tuple[dict[Knob, int], list[str]]:
    """The static values of the knobs that can be set, and why the others cannot."""
    static: dict[Knob, int] = {}
    notes: list[str] = []
    for knob, bounds in unit.bounds.items():
        overridden = kept.get((unit.name, knob))
        value = parse_value(overridden.text) if overridden else shown.values.get(knob)
        inside = value is not None and bounds.low <= value and (value <= bounds.high or knob == "memory")
        if knob not in controllers:
            notes.append(f"{knob}: the kernel has no such controller here")
        elif knob == "io" and not io_works:
            notes.append("io: no disk heeds weights; they need the scheduler bfq or io.cost")
        elif value is None:
            notes.append(f"{knob}: is set to {shown.texts[knob]}, which is no number")
        elif not inside:
            text = "infinity" if value >= UNLIMITED else value
            notes.append(f"{knob}: the unit's own {text} is outside of {bounds.low}-{bounds.high}; mend one of them")
        else:
            static[knob] = value
    return static, notes
