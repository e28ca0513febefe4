"""The agent's loop: from the sensor to rules, windows and model, and on to the outputs."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from lichen_agent.clock import boot_time
from lichen_agent.notify import notify, reloading

from .alert import Alert, Priority
from .anomaly import Detector
from .event import Event
from .metrics import Metrics
from .outputs import Outputs
from .reports import Losses, of_agent, of_finding, problems_text
from .rules import RulesError, RuleSet
from .sensor import SensorError
from .settings import Settings
from .watch import Denial, Watch
from .windows import SECOND, Window, Windows

POLL = 200  # milliseconds that the sensor is waited for before we look around
WATCHDOG = 5 * SECOND
LOOK = 10 * SECOND  # between two looks at what was lost, and whether the sensor still is as we made it
KEEP = 600 * SECOND  # between two times that what was seen is written down
# The rule that sees the harmless file of `lichen-guard test`.
SELF_TEST = "Self-test of lichen-guard"


class SensorLike(Protocol):
    """What the agent needs of :class:`lichen_guard.sensor.Sensor`."""

    faulty: int

    @property
    def hooks(self) -> Mapping[str, str]:
        """Names, and of each ``attached`` or why it is not."""

    def set_watches(self, watches: Sequence[Watch]) -> None:
        """Files of interest."""

    def set_denials(self, denials: Sequence[Denial]) -> None:
        """What to refuse while enforcing."""

    def enforce(self, on: bool) -> None:
        """Refuse, or only tell."""

    def poll(self, timeout_ms: int, callback: Callable[[Event], None]) -> int:
        """Hand over events; return how many."""

    def lost(self) -> Mapping[str, int]:
        """Of each kind, since the start."""

    def repair(self) -> Sequence[str]:
        """Make settings and tables what they were again; those that were not."""

    def close(self) -> None:
        """Detach."""


@dataclass
class Signals:
    """What signal handlers leave for the loop."""

    stop: int = 0
    reload: bool = False


@dataclass
class Agent:
    """Everything at work.

    Attributes:
        load: reads the rule files; raises RulesError.
        detector: None when anomaly detection is switched off.
        refused: the faults for which the last reload was refused.
    """

    settings: Settings
    sensor: SensorLike
    rules: RuleSet
    load: Callable[[], RuleSet]
    outputs: Outputs
    metrics: Metrics
    detector: Detector | None
    clock: Callable[[], int] = boot_time
    refused: tuple[str, ...] = ()
    events: Counter[str] = field(default_factory=Counter)
    seen_tests: deque[tuple[str, int]] = field(default_factory=lambda: deque(maxlen=64))

    def __post_init__(self) -> None:
        self.began = self.clock()
        self.windows = Windows(self.settings.window_seconds * SECOND, self.settings.window_events)
        self.losses = Losses()
        self.failures, self.last_failure = 0, ""
        self._counters: dict[str, Any] = {}
        self._fed = self._looked = self._kept = 0
        self._told_failures = 0

    # The loop

    def run(self, signals: Signals, control_turn: Callable[[], None] = lambda: None) -> None:
        """Work until a signal says stop. What goes wrong with the sensor is let through."""
        missing = [f"{hook}: {state}" for hook, state in self.sensor.hooks.items() if state != "attached"]
        hooks, rules = len(self.sensor.hooks), len(self.rules.rules)
        text = f"{hooks - len(missing)} of {hooks} hooks are attached, {rules} rules judge, mode {self.settings.mode}"
        if missing:
            text += f"; the first that is not: {missing[0]}"
        self.say("Agent started", Priority.WARNING if missing else Priority.NOTICE, text)
        self.turn()
        notify(READY=1, STATUS=self.status_line())
        while not signals.stop:
            self.sensor.poll(POLL, self.see)
            if signals.reload:
                signals.reload = False
                self.reload()
            self.turn()
            control_turn()
        self.say("Agent stopped", Priority.WARNING, f"signal {signals.stop} asked for it; nothing is seen from now on")

    def see(self, event: Event) -> None:
        """Judge one event."""
        self.events[event.kind] += 1
        if not (counter := self._counters.get(event.kind)):
            counter = self._counters[event.kind] = self.metrics.events.labels(event.kind)
        counter.inc()
        try:
            alerts = self.rules.judge(event)
        except Exception as error:
            self.failures += 1
            self.last_failure = f"{type(error).__name__} at an event {event.kind}"
            alerts = []
        for alert in alerts:
            self._tell(alert)
        told = sum(alert.rule != SELF_TEST for alert in alerts)
        if self.detector:
            self._judge(self.windows.add(event, told))

    def _tell(self, alert: Alert) -> None:
        if alert.rule == SELF_TEST:
            self.seen_tests.append((str(alert.fields.get("fd.name", "")), self.clock()))
        self.outputs.tell(alert)

    def _judge(self, closed: list[Window]) -> None:
        for window in closed:
            if finding := self.detector.judge(window):
                self.outputs.tell(of_finding(finding))

    def say(self, rule: str, priority: Priority, text: str, **fields: str | int) -> None:
        """Tell something about the agent itself."""
        self.outputs.tell(of_agent(rule, priority, text, self.clock(), **fields))

    def turn(self) -> None:
        """What is to be done now and then, between events."""
        now = self.clock()
        if now >= self._fed:
            self._fed = now + WATCHDOG
            notify(WATCHDOG=1, STATUS=self.status_line())
        if now >= self._looked:
            self._looked = now + LOOK
            self._look(now)
        if self.detector:
            self._judge(self.windows.expire(now))
            self.detector.turn(now)
            while self.detector.notes:
                self.say("Model", Priority.NOTICE, self.detector.notes.popleft())
            if now >= self._kept:
                self._kept = now + KEEP
                self.detector.save(now)
        self.outputs.turn()

    def _look(self, now: int) -> None:
        self._repair()
        lost = self.sensor.lost()
        if alert := self.losses.report(lost, now):
            self.outputs.tell(alert)
        for kind, count in lost.items():
            self.metrics.raise_to(self.metrics.lost, kind, count)
        if self.failures > self._told_failures:
            text = f"{self.failures - self._told_failures} events could not be judged by rules: {self.last_failure}"
            self._told_failures = self.failures
            self.say("Events not judged", Priority.ERROR, text)
        if self.detector:
            self.metrics.show_scores(self.detector.scores)
            self.metrics.threshold.set(self.detector.model.threshold if self.detector.model else 1)
            self.metrics.raise_to(self.metrics.windows, "", self.detector.judged)
            self.metrics.raise_to(self.metrics.anomalies, "", self.detector.told)

    def _repair(self) -> None:
        """Whoever is root can blind the sensor by what it was told; that shall not last, nor go untold."""
        try:
            changed = self.sensor.repair()
        except SensorError as error:
            self.say("Sensor changed by others", Priority.CRITICAL, str(error))
            return
        if changed:
            text = f"{', '.join(changed)} were no longer as the agent made them, and are again; look who was root"
            self.say("Sensor changed by others", Priority.CRITICAL, text)

    # Rules

    def reload(self) -> None:
        """Read the rule files anew. Malformed ones change nothing; what is wrong with them is told."""
        reloading()
        try:
            rules = self.load()
            self.apply(rules)
        except RulesError as error:
            self.refuse(error.problems)
        except SensorError as error:
            # It keeps what it had of what did not fit; the other half has to be what it was as well.
            self.apply(self.rules)
            self.refuse([error])
        else:
            self.rules, self.refused = rules, ()
            self.say("Rules loaded", Priority.NOTICE, f"{len(rules.rules)} rules judge from now on")
        notify(READY=1, STATUS=self.status_line())

    def refuse(self, problems: Sequence[object]) -> None:
        """Tell that rule files are not used, and why."""
        self.refused = tuple(map(str, problems))
        text = f"the rules in use stay: {problems_text(self.refused)}"
        self.say("Rules refused", Priority.ERROR, text, problems=len(self.refused))

    def apply(self, rules: RuleSet) -> None:
        """Let the sensor know what rules want watched and refused.

        Raises:
            SensorError: it is more than the kernel's maps hold.
        """
        self.sensor.set_watches(rules.watches())
        self.sensor.set_denials(rules.denials())
        self.sensor.enforce(self.settings.mode == "enforce")

    # Questions and orders

    def answer(self, request: Mapping[str, object]) -> Mapping[str, object]:
        """Answer what came through the control socket."""
        match request:
            case {"command": "status"}:
                return self.status()
            case {"command": "test", "path": str(path)}:
                return {"seen": next((time for name, time in self.seen_tests if name == path), None)}
            case {"command": "learn", "windows": (int() | None) as windows} if (
                windows is None or 50 <= windows <= 100_000
            ):
                if not self.detector:
                    return {"error": "anomaly detection is switched off: model = false in /etc/lichen/guard.toml"}
                self.detector.start_anew(self.clock(), windows)
                return {"windows": self.detector.rules.windows}
            case _:
                return {"error": "the agent does not know this request; is the command of another version?"}

    def status_line(self) -> str:
        """The agent in one line, for ``systemctl status``."""
        model = "no model" if not self.detector else "judging" if self.detector.model else "learning"
        refused = ", NEW RULES REFUSED" if self.refused else ""
        told = sum(self.outputs.counts.values())
        return f"{len(self.rules.rules)} rules{refused}, {model}; {self.events.total()} events, {told} alerts"

    def status(self) -> Mapping[str, object]:
        """All about the agent, for people and machines."""
        now = self.clock()
        return {
            "mode": self.settings.mode,
            "pid": os.getpid(),
            "uptime_seconds": round((now - self.began) / SECOND),
            "memory_bytes": _memory(),
            "hooks": dict(self.sensor.hooks),
            "rules": {
                "loaded": [rule.name for rule in self.rules.rules],
                "disabled": list(self.rules.disabled),
                "unsupported": list(map(str, self.rules.unsupported)),
                "unfilled": list(map(str, self.rules.unfilled)),
                "unbounded": list(map(str, self.rules.unbounded)),
                "refused": list(self.refused),
            },
            "model": self.detector.state(now) if self.detector else {"state": "off"},
            "events": dict(self.events),
            "lost": dict(self.sensor.lost()),
            "not_judged": self.failures,
            "not_understood": self.sensor.faulty,
            **self.outputs.state(),
        }


def _memory() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
