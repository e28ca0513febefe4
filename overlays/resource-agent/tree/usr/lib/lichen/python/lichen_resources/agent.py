"""The agent's loop: look, decide, set, tell; and back to static values whenever it shall not or cannot do that."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from lichen_agent.escape import escape
from lichen_agent.notify import notify

from .audit import AuditLog
from .looking import Look, Looker
from .metrics import Metrics
from .policy import Change, Seen, State, Track, decide, text_of
from .pressure import PressureOff, check_pressure
from .record import Record
from .settings import Settings
from .systemd import Runner, Shown, SystemdError, set_property, show, systemctl
from .units import Knob, Unit

PAUSE = 0.25  # seconds between two looks at the control socket
ASK_AGAIN = 30.0  # seconds after which systemd is asked anew what the units are
FOREIGN_LOOKS = 2  # looks in succession at which a knob is at what we did not set, until it is somebody else's
LONGEST_HOLD = 3600.0
Key = tuple[str, Knob]


class Agent:
    """Ties all together.

    Args:
        switch: the file that keeps it off.
        why_blind: why nothing can be seen, "" when all is well; asked at each look.
        say: tells the journal; the first argument is the priority, as of syslog.
    """

    def __init__(
        self,
        settings: Settings,
        looker: Looker,
        record: Record,
        log: AuditLog,
        metrics: Metrics,
        switch: Path,
        *,
        run: Runner = systemctl,
        why_blind: Callable[[], str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._looker, self._record, self._log = settings, looker, record, log
        self._metrics, self._switch, self._run, self._clock = metrics, switch, run, clock
        self._why_blind = why_blind or blindness
        self._state = State()
        self._shown: Mapping[str, Shown] = {}
        self._asked = -ASK_AGAIN
        self._held_until = 0.0
        self._look: Look | None = None
        self._foreign: dict[Key, int] = {}
        self._taken: dict[Key, int] = {}
        self._last: dict[Key, str] = {}
        self._trouble = ""
        self.mode = ""

    # The loop

    def run(self, stopped: Callable[[], bool], turn: Callable[[], None]) -> None:
        """Work until told to stop; the static values are given back then, whatever the reason.

        Args:
            turn: answers requests; called often.
        """
        following = self._clock()
        notify(READY=1)
        try:
            while not stopped():
                turn()
                if self._clock() >= following:
                    self.look()
                    following = self._clock() + self._settings.interval
                    notify(WATCHDOG=1, STATUS=self.status_line())
                time.sleep(PAUSE)
        finally:
            self.give_back_all("stop", "the agent ends")

    def look(self) -> None:
        """Look once and do what follows. Whatever is in doubt becomes static."""
        mode = self._mode()
        if mode != self.mode:
            say(5, f"from now on: {mode}")
            self.mode = mode
        self._metrics.adjusting.set(mode == "adjusting")
        now = self._clock()
        if mode != "adjusting":
            # Before systemd is asked what there is, for it may take a minute to answer.
            self.give_back_all("switch", mode)
        try:
            look = self._see(now)
        except (OSError, ValueError, SystemdError) as error:
            self._complain(f"nothing can be seen: {error}; all is static")
            self._look = None
            self.give_back_all("trouble", "nothing can be seen")
            return
        if mode != "adjusting":
            return
        self._find_foreign(look)
        self._adjust(look, now)

    def _mode(self) -> str:
        if self._switch.exists():
            return "off"
        if self._clock() < self._held_until:
            return "held static for a comparison"
        return self._why_blind() or "adjusting"

    def _see(self, now: float) -> Look:
        if now - self._asked >= ASK_AGAIN or self._somebody_came_or_went():
            self._shown = show([unit.name for unit in self._settings.units], self._run)
            self._asked = now
        look = self._look = self._looker.look(self._shown, self._record.kept, now)
        self._metrics.show(look.pressures, look.actual)
        for unit in self._settings.units:
            self._metrics.there.labels(unit.name, unit.role).set(unit.name in look.seen)
            if unit.name not in look.seen:
                # The next one of that name begins with what its own files say.
                self._give_back(unit.name, "gone", "the unit has ended")
        self._trouble = ""
        return look

    def _somebody_came_or_went(self) -> bool:
        for shown in self._shown.values():
            there = bool(shown.cgroup) and (self._looker.root / shown.cgroup.strip("/")).is_dir()
            if there != (shown.state in ("active", "reloading")):
                return True
        return False

    def _find_foreign(self, look: Look) -> None:
        """A knob that is not at what we set has been set by somebody, who shall have it."""
        for key, actual in look.actual.items():
            track = self._state.tracks.get(key, Track())
            if track.value is None or key in self._taken:
                continue
            self._foreign[key] = 0 if actual == track.value else self._foreign.get(key, 0) + 1
            if self._foreign[key] >= FOREIGN_LOOKS:
                self._taken[key] = actual
                self._record.release(*key)
                reason = "somebody else has set it; it is left alone until the agent starts anew"
                self._tell(key, track.value, text_of(key[1], actual), "somebody", reason)
                say(4, f"{key[0]} {key[1]}: {reason}")
        self._metrics.taken.set(len(self._taken))

    def _adjust(self, look: Look, now: float) -> None:
        seen = {
            name: _without(unit, {knob for owner, knob in self._taken if owner == name})
            for name, unit in look.seen.items()
        }
        units, per_minute = self._settings.units, self._settings.changes_per_minute
        self._state, changes = decide(units, seen, self._state, now, per_minute)
        for change in changes:
            self._make(change)

    def _make(self, change: Change) -> None:
        key = change.unit, change.knob
        try:
            text = self._shown[change.unit].texts[change.knob]
            self._record.keep(change.unit, change.knob, text)
            kept = self._record.kept[key].text
            wanted = kept if change.after is None else text_of(change.knob, change.after)
            set_property(change.unit, change.knob, wanted, self._run)
        except (OSError, SystemdError) as error:
            self._metrics.failures.labels(*key).inc()
            self._complain(f"{change.unit} {change.knob} stays at {change.before}: {error}")
            # Whatever it is at now, it becomes what it was without us.
            self._give_back(change.unit, "trouble", f"it could not be set: {error}", change.knob)
            self._forget(key)
            return
        self._tell(key, change.before, wanted, "policy", change.reason)

    # Giving back

    def give_back_all(self, actor: str, reason: str) -> None:
        """All static values at once."""
        kept = {key: value.text for key, value in self._record.kept.items()}
        failed = self._record.give_back_all()
        for key, text in kept.items():
            self._tell_given_back(key, text, actor, reason, failed.get(key))
        self._state = State({}, self._state.changed)

    def _give_back(self, name: str, actor: str, reason: str, only: Knob | None = None) -> None:
        for key in [key for key in self._record.kept if key[0] == name and only in (None, key[1])]:
            text = self._record.kept[key].text
            failed = self._record.give_back(*key)
            self._tell_given_back(key, text, actor, reason, failed if actor != "gone" else None)
            self._forget(key)
        for key in [key for key in self._taken if key[0] == name and only in (None, key[1])]:
            del self._taken[key]

    def _forget(self, key: Key) -> None:
        self._state = State({k: v for k, v in self._state.tracks.items() if k != key}, self._state.changed)

    def _tell_given_back(self, key: Key, text: str, actor: str, reason: str, failed: str | None) -> None:
        track = self._state.tracks.get(key, Track())
        if failed is None and track.value is None:
            return  # the policy had given it back before; now the property itself is gone
        before = "static" if track.value is None else track.value
        if failed:
            say(3, f"{key[0]} {key[1]} could not be given back at once: {failed}; its property is removed")
        self._tell(key, before, text, actor, f"{reason}; {failed}" if failed else reason)

    def _tell(self, key: Key, before: object, after: object, actor: str, reason: str) -> None:
        self._last[key] = reason
        self._metrics.changes.labels(*key, actor).inc()
        pressures = self._look.pressures.get(key[0], {}) if self._look else {}
        seen = {f"{name}.{kind}": getattr(p, kind) for name, p in pressures.items() for kind in ("some", "full")}
        row = {"unit": key[0], "knob": key[1], "from": str(before), "to": str(after), "actor": actor, "reason": reason}
        try:
            self._log.tell({**row, "pressure": seen})
        except OSError as error:
            # What cannot be written down is told at least.
            say(3, f"log: {error}; {key[0]} {key[1]} {before} -> {after}: {reason}")

    def _complain(self, trouble: str) -> None:
        if trouble != self._trouble:
            say(3, trouble)
        self._trouble = trouble

    # Questions and orders

    def answer(self, request: Mapping[str, object]) -> Mapping[str, object]:
        """Answer what came through the control socket."""
        match request:
            case {"command": "status"}:
                return self.status()
            case {"command": "off"}:
                return self._switched(True)
            case {"command": "on"}:
                return self._switched(False)
            case {"command": "hold", "seconds": (int() | float()) as seconds} if 0 <= seconds <= LONGEST_HOLD:
                # It ends by itself: whoever compares may be killed.
                self._held_until = self._clock() + seconds
                self.look()
                return {"mode": self.mode}
            case _:
                return {"error": "the agent does not know this request; is the command of another version?"}

    def _switched(self, off: bool) -> Mapping[str, object]:
        try:
            if off:
                self._switch.touch(mode=0o644)
            else:
                self._switch.unlink(missing_ok=True)
        except OSError as error:
            if off:
                self.give_back_all("switch", "off")
            return {"error": f"{self._switch}: {error.strerror}; it would not last over a restart"}
        self.look()
        return {"mode": self.mode}

    def status_line(self) -> str:
        """The agent in one line, for ``systemctl status``."""
        there = len(self._look.seen) if self._look else 0
        moved = sum(1 for track in self._state.tracks.values() if track.value is not None)
        line = f"{self.mode}; {there} of {len(self._settings.units)} units there, {moved} values are not static"
        return f"{line}; {self._trouble}" if self._trouble else line

    def status(self) -> Mapping[str, object]:
        """All about the agent, for people and machines."""
        return {
            "mode": self.mode,
            "pid": os.getpid(),
            "trouble": self._trouble,
            "changes_last_minute": sum(1 for at in self._state.changed if self._clock() - at < 60),
            "changes_per_minute": self._settings.changes_per_minute,
            "units": [self._unit_status(unit) for unit in self._settings.units],
        }

    def _unit_status(self, unit: Unit) -> Mapping[str, object]:
        look, shown = self._look, self._shown.get(unit.name)
        seen = look.seen.get(unit.name) if look else None
        knobs = {}
        for knob, bounds in unit.bounds.items():
            key = unit.name, knob
            knobs[knob] = {
                "low": bounds.low,
                "high": bounds.high,
                "static": seen.static.get(knob) if seen else None,
                "now": look.actual.get(key) if look else None,
                "taken_over": key in self._taken,
                "reason": self._last.get(key, ""),
            }
        pressures = look.pressures.get(unit.name, {}) if look else {}
        return {
            "unit": unit.name,
            "role": unit.role,
            "there": seen is not None,
            "cgroup": shown.cgroup if shown else "",
            "notes": list(look.notes.get(unit.name, ())) if look else [],
            "knobs": knobs,
            "targets": dict(unit.targets),
            "pressure": {name: {"some": p.some, "full": p.full} for name, p in pressures.items()},
            "memory": {"bytes": seen.memory, "working": seen.working} if seen else {},
            "oomd": dict(shown.oomd) if shown else {},
        }


def _without(look: Seen, knobs: set[Knob]) -> Seen:
    return replace(look, static={knob: value for knob, value in look.static.items() if knob not in knobs})


def blindness() -> str:
    """Why no pressure can be seen on this machine; "" when it can."""
    try:
        check_pressure()
    except PressureOff as error:
        return str(error)
    return ""


def say(priority: int, text: str) -> None:
    """Tell the journal, which takes what a service prints to standard error."""
    print(f"<{priority}>{escape(text)}", file=sys.stderr, flush=True)
