"""The agent's loop: takes samples in, lets the teacher and the warden do their work, answers questions."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic_ns

from lichen_agent.cgroups import Cgroups, mounted
from lichen_agent.clock import boot_time
from lichen_agent.notify import notify

from . import audit
from .kernel import Kernel, Mode
from .layout import FRACTION, Counter, Predictor
from .memory import WISH_OF
from .metrics import Metrics
from .settings import Settings
from .teacher import Choice, Teacher
from .warden import LOOK, SECOND, Warden

POLL = 200  # milliseconds that samples are waited for before we look around
WATCHDOG = 5 * SECOND
KEEP = 600 * SECOND  # between two times that what is known is written down
LONGEST_TRIAL = 3600  # seconds


@dataclass
class Signals:
    """What signal handlers leave for the loop."""

    stop: int = 0


@dataclass
class Agent:
    """Everything at work.

    Attributes:
        say: tells the journal: syslog's priority and text.
    """

    settings: Settings
    kernel: Kernel
    warden: Warden
    teacher: Teacher
    metrics: Metrics
    say: Callable[[int, str], None]
    cgroups: Cgroups = field(default_factory=Cgroups)
    clock: Callable[[], int] = boot_time

    def __post_init__(self) -> None:
        self.began, self._used = self.clock(), _used()
        self._fed, self._looked, self._kept = 0, self.began + LOOK, self.began + KEEP
        self._choice: Choice | None = None
        self._begin_audit(0)
        self._wakeups = self.kernel.counters()[Counter.WAKEUPS]
        self.warden.changed = lambda: self._begin_audit(self._audited_from)
        settings = self.settings
        self.kernel.set_control(
            slice_min_ns=settings.slice_min_us * 1000,
            slice_max_ns=settings.slice_max_us * 1000,
            preempt_ns=settings.preempt_us * 1000,
            # Until the first look says how many bursts there are.
            sample_every=64,
        )
        self._install()

    # The loop

    def run(self, signals: Signals, control_turn: Callable[[], None] = lambda: None) -> None:
        """Work until a signal says stop. What goes wrong with the kernel's programs is let through."""
        self.turn()
        notify(READY=1, STATUS=self.status_line())
        while not signals.stop:
            self.take()
            self.turn()
            control_turn()
        self.say(5, f"the agent ends, signal {signals.stop} asked for it")

    def take(self) -> None:
        """Take in what the kernel has."""
        records: list[bytes] = []
        self.kernel.poll(POLL, records.append)
        if records:
            self.metrics.samples.inc(self.teacher.take(records))

    def turn(self) -> None:
        """What is to be done now and then."""
        now = self.clock()
        self.warden.turn()
        self.teacher.turn(now)
        self._install()
        self._tell()
        if now >= self._fed:
            self._fed = now + WATCHDOG
            notify(WATCHDOG=1, STATUS=self.status_line())
        if now >= self._looked:
            self._adjust_sampling((now - self._looked + LOOK) / SECOND)
            self._looked = now + LOOK
            self._show()
        if now >= self._kept:
            self._kept = now + KEEP
            self.warden.keep()

    def _tell(self) -> None:
        while self.warden.notes:
            asked, text = self.warden.notes.popleft()
            self.say(5 if asked else 3, text)
        while self.teacher.notes:
            self.say(5, self.teacher.notes.popleft())

    def _install(self) -> None:
        """Let that predict which the teacher chose."""
        choice = self.teacher.choice()
        if choice == self._choice:
            return
        if choice.ensemble and (not self._choice or choice.ensemble is not self._choice.ensemble):
            self.kernel.write_model(choice.ensemble.trees(), choice.ensemble.base)
        control = self.kernel.set_control(predictor=Predictor[choice.predictor.upper()], constant_ns=choice.constant)
        self._choice = choice
        self._begin_audit(control.generation)

    def _adjust_sampling(self, seconds: float) -> None:
        """One burst of so many that about as many come as the settings want, whatever the machine does."""
        wakeups = self.kernel.counters()[Counter.WAKEUPS]
        rate, self._wakeups = (wakeups - self._wakeups) / seconds, wakeups
        every = max(1, round(rate / self.settings.samples_per_second))
        now = self.kernel.control().sample_every
        if every >= 2 * now or 2 * every <= now:
            self.kernel.set_control(sample_every=min(every, 1 << 20))

    def _show(self) -> None:
        metrics, model = self.metrics, self.teacher.model
        errors = model.tried.errors if model else {}
        metrics.show_state(self.warden.mode, self.teacher.choice().predictor, self.teacher.version, errors)
        metrics.show_delays(self.warden.counts, self.warden.limit())
        metrics.supported.set(not self.kernel.support)
        for counter, count in self.kernel.counters().items():
            if counter != Counter.LONGEST_NS:
                metrics.raise_to(metrics.kernel, counter.name.lower(), count)
        for outcome, count in self.teacher.outcomes.items():
            metrics.raise_to(metrics.models, outcome, count)
        metrics.raise_to(metrics.returns, "", self.warden.happened)

    # Fairness

    def _begin_audit(self, generation: int) -> None:
        """From here on, as something else is in force; samples count from that generation of the control on."""
        self._audited_from, self._audited_at = generation, monotonic_ns()
        self._audited = self._shares()

    def _shares(self) -> list[audit.Share]:
        one = 1 << FRACTION
        return [
            audit.Share(
                owner.cgroup,
                owner.uid,
                share.ran_ns / SECOND,
                share.waited_ns / SECOND,
                share.longest_ns / SECOND,
                share.bursts,
                share.error / one,
                share.bias / one,
            )
            for owner, share in self.kernel.shares().items()
        ]

    def audit(self) -> Mapping[str, object]:
        """Whether anybody is treated differently beyond weights, since mode or predictor changed the last time."""
        samples = self.teacher.samples.ordered()
        ours = (samples["generation"] >= self._audited_from) & (samples["time"] >= self._audited_at)
        shares = audit.since(self._shares(), self._audited)
        seconds = (monotonic_ns() - self._audited_at) / SECOND
        root = mounted()
        report = audit.audit(
            shares,
            samples[ours],
            lambda number: self.cgroups.find(number).cgroup,
            lambda path: weight(root, path),
            seconds,
        )
        return {
            "mode": self.warden.mode,
            "predictor": self.teacher.choice().predictor,
            "seconds": seconds,
            **report,
        }

    # Questions and orders

    def answer(self, request: Mapping[str, object]) -> Mapping[str, object]:
        """Answer what came through the control socket."""
        match request:
            case {"command": "status"}:
                return self.status()
            case {"command": "audit"}:
                return self.audit()
            case {"command": "train"}:
                why = self.teacher.start(self.clock())
                return {"error": why} if why else {"samples": len(self.teacher.samples)}
            case {"command": "trial", "mode": str(mode), "seconds": (int() | float()) as seconds} if (
                mode in {"observe", "active"} and 0 < seconds <= LONGEST_TRIAL
            ):
                self.warden.try_out(Mode(mode), seconds)
                return self.status()
            case {"command": "trial", "mode": ""}:
                self.warden.try_out(None, 0)
                return self.status()
            case {"command": str(order)} if order in WISH_OF:
                return self._obey(WISH_OF[order])
            case _:
                return {"error": "the agent does not know this request; is the command of another version?"}

    def _obey(self, wish: str) -> Mapping[str, object]:
        try:
            self.warden.ask_for(wish)
        except OSError as error:
            return {"error": f"it will not outlast the agent, EEVDF is in force until then: {error}"}
        return self.status()

    def status_line(self) -> str:
        """The agent in one line, for ``systemctl status``."""
        state = self.warden.state()
        return f"mode {state['mode']}, {state['why']}; predictor {self.teacher.choice().predictor}"

    def status(self) -> Mapping[str, object]:
        """All about the agent, for people and machines."""
        counters = {counter.name.lower(): count for counter, count in self.kernel.counters().items()}
        return {
            **self.warden.state(),
            "pid": os.getpid(),
            "uptime_seconds": round((self.clock() - self.began) / SECOND),
            "cpu_seconds": _used() - self._used,
            "model": self.teacher.state(),
            "counters": counters,
            "sample_every": self.kernel.control().sample_every,
            "not_understood": self.teacher.faulty,
        }


def _used() -> float:
    """Seconds of a processor so far. Loading the programs takes many, which say nothing of what the agent costs."""
    used = os.times()
    return used.user + used.system


def weight(root: Path | None, path: str) -> int:
    """The cpu.weight of a cgroup; 100, the kernel's default, where it has none."""
    try:
        return max(1, int((root / path.lstrip("/") / "cpu.weight").read_text(encoding="ascii")))
    except (OSError, ValueError, TypeError):
        return 100
