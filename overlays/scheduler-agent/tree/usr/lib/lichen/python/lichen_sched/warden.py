"""Decides which scheduler is in force, and returns to the kernel's own one, EEVDF, whenever there is a doubt."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .guards import MEASURED, Delays, Returns, longest, quantile
from .kernel import Kernel, Mode, SchedulerError
from .memory import Memory

SECOND = 1_000_000_000
LOOK = 10 * SECOND
# After programs could not be attached to observe with.
AGAIN = 60 * SECOND
NAMED = 3  # cgroups with a quota, of which there may be hundreds
PRESSURE = Path("/proc/pressure/cpu")


@dataclass
class Warden:
    """The mode, and who watches it. Times are nanoseconds since boot and seconds since 1970.

    Attributes:
        configured: the mode that the settings ask for.
        quotas_of: which cgroups have a limit of processor time, which our scheduler does not keep; ``quotas``: at the
            last look, if it was wanted. With ``ignore_quotas`` it may be in force all the same.
        changed: called after each change of the mode.
        why: of the mode in force.
        notes: what happened, for the journal; with whether it was asked for.
        counts: delays of the last look, and ``pressure`` then.
        happened: how often EEVDF returned without being asked for, since the agent's start.
    """

    kernel: Kernel
    memory: Memory
    delays: Delays
    returns: Returns
    configured: str
    clock: Callable[[], int]
    wall: Callable[[], float]
    pressure_of: Callable[[], float]
    quotas_of: Callable[[], Sequence[str]]
    ignore_quotas: bool
    changed: Callable[[], None] = lambda: None
    why: str = "the agent has just started"
    notes: deque[tuple[bool, str]] = field(default_factory=lambda: deque(maxlen=64))
    counts: Sequence[int] = ()
    pressure: float = 0.0

    def __post_init__(self) -> None:
        self.happened = 0
        self.quotas: Sequence[str] = ()
        self._trial: tuple[Mode, int] | None = None
        self._mode = self.kernel.mode
        self._seen = self.kernel.delays()
        self._look_at = self.clock() + LOOK
        self._observe_at = 0
        if self.memory.doubt:
            self._note(self.memory.doubt, asked=False)
        if self.memory.marked:
            self._returned("the agent or the machine had ended while our scheduler was in force")
            self.memory.mark(False)

    # What is asked for

    def try_out(self, mode: Mode | None, seconds: float) -> None:
        """For a comparison: keep to a mode for so long, None for no longer. The guards stay awake."""
        self._trial = (mode, self.clock() + int(seconds * SECOND)) if mode else None
        self.turn()

    def ask_for(self, wish: str) -> None:
        """What a person wants: ``off``, ``observe``, ``active``, or "" for what the settings say. It lasts.

        Raises:
            OSError: it cannot be kept; off is in force all the same.
        """
        self._trial = None
        try:
            if wish == "off":
                self.memory.switch_off()
            else:
                self.returns.forget()
                self.memory.ask_for(wish)
        except OSError:
            self._enter(Mode.OFF, "somebody asked for it")
            raise
        self.turn()

    def wanted(self) -> tuple[Mode, str]:
        """The mode that there should be, and why."""
        if self.memory.off:
            return Mode.OFF, "lichen-sched off holds until on, observe or configured"
        if self._trial:
            if self._trial[0] == Mode.ACTIVE and (hindrance := self._impossible()):
                return Mode.OBSERVE, f"active is to be tried out, but {hindrance}"
            return self._trial[0], "it is being tried out"
        wish = self.memory.wish
        mode, who = Mode(wish or self.configured), "a person asked for it" if wish else "/etc/lichen/sched.toml says so"
        if mode == Mode.ACTIVE and (hindrance := self._impossible() or self._hindrance()):
            return Mode.OBSERVE, f"active is wanted, {who}, but {hindrance}"
        return mode, who

    def _impossible(self) -> str:
        """Why this machine cannot have our scheduler, not even for a trial, as it is now."""
        if self.kernel.support or self.ignore_quotas or not self.quotas:
            return self.kernel.support
        more = f" and {len(self.quotas) - NAMED} more" if len(self.quotas) > NAMED else ""
        return (
            f"CPU quotas are set, which our scheduler does not keep, for {', '.join(self.quotas[:NAMED])}{more}; take "
            "them away (systemctl set-property UNIT CPUQuota=), or set ignore_cpu_quotas = true in "
            "/etc/lichen/sched.toml to do without them"
        )

    def _hindrance(self) -> str:
        """Why our scheduler may not come into force now."""
        returns = self.returns
        if self.memory.doubt:
            return self.memory.doubt
        if returns.given_up:
            last = returns.reasons[-1][1] if returns.reasons else "unknown"
            return f"EEVDF had to return {returns.count} times, lichen-sched on tries again; the last reason: {last}"
        if (left := returns.until - self.wall()) > 0:
            return f"EEVDF had to return; it is tried again in {left:.0f} s; the reason: {returns.reasons[-1][1]}"
        if self.delays.looks < MEASURED:
            return f"EEVDF is measured first, {self.delays.looks} of {MEASURED} looks are done"
        return ""

    # What is done

    def turn(self) -> None:
        """See to it that the right mode is in force. To be called often."""
        now = self.clock()
        if self._mode == Mode.ACTIVE and self.kernel.mode != Mode.ACTIVE:
            self._returned(self._ended())
        if self._trial and now >= self._trial[1]:
            self._trial = None
        if now >= self._look_at:
            self._look()
        mode, why = self.wanted()
        if mode == Mode.ACTIVE and self._mode != Mode.ACTIVE:
            # Somebody may have set one since the last look.
            self.quotas = self.quotas_of()
            mode, why = self.wanted()
        if mode == self._mode:
            self.why = why
        elif mode != Mode.OBSERVE or now >= self._observe_at:
            self._enter(mode, why)

    def _ended(self) -> str:
        ending = self.kernel.ending()
        if not ending:
            return "the kernel ended our scheduler and does not say why"
        said = ", ".join(text for text in (ending.reason, ending.message) if text) or "nothing"
        return f"the kernel ended our scheduler: {said} (kind {ending.kind}, code {ending.code})"

    def _returned(self, reason: str) -> None:
        """EEVDF is in force, or is to be, without anybody having asked for it."""
        self._trial = None
        self.happened += 1
        self.returns.happened(self.wall(), reason)
        follows = "; it is not tried again until lichen-sched on" if self.returns.given_up else ""
        self._note(f"back to EEVDF: {reason}{follows}", asked=False)
        if self._mode == Mode.ACTIVE:
            self._enter(Mode.OFF, reason)
        self.keep()

    def _enter(self, mode: Mode, why: str) -> None:
        self._mode, self.why = mode, why
        try:
            if mode == Mode.ACTIVE:
                # Should we not live to say so, the next start finds it.
                self.memory.mark(True)
            self.kernel.set_mode(mode)
        except (SchedulerError, OSError) as error:
            self._mode = Mode.OFF
            self.why = f"the mode {mode} cannot be had: {error}"
            self._observe_at = self.clock() + AGAIN
            if mode == Mode.ACTIVE:
                self._observe_at = 0
                self._returned(str(error))
            else:
                self._note(self.why, asked=False)
        if self._mode == Mode.ACTIVE:
            self.returns.tried(self.wall())
        else:
            self.memory.mark(False)
        self._note(f"mode {self._mode}: {self.why}", asked=True)
        self._seen, self._look_at = self.kernel.delays(), self.clock() + LOOK
        self.changed()

    def _look(self) -> None:
        self._look_at = self.clock() + LOOK
        delays = self.kernel.delays()
        self.counts = [new - old for new, old in zip(delays, self._seen, strict=True)]
        self._seen, self.pressure = delays, self.pressure_of()
        # A walk over all cgroups, which is for nothing where nobody wants our scheduler.
        asked = self._trial[0] if self._trial else self.memory.wish or self.configured
        self.quotas = self.quotas_of() if asked == Mode.ACTIVE else ()
        if self._mode == Mode.OBSERVE:
            self.delays.measure(self.counts, self.pressure)
        elif self._mode == Mode.ACTIVE:
            self.returns.serves(self.wall())
            if reason := self.delays.judge(self.counts, self.pressure):
                self._returned(reason)

    def stop(self) -> None:
        """Detach everything, as somebody asked."""
        if self._mode != Mode.OFF:
            self._enter(Mode.OFF, "the agent ends")
        self.keep()

    def keep(self) -> None:
        """Write down what is known; trouble with the disk becomes a note."""
        try:
            self.memory.save()
        except OSError as error:
            self._note(f"what is known cannot be kept: {error}", asked=False)

    def _note(self, text: str, asked: bool) -> None:
        self.notes.append((asked, text))

    @property
    def mode(self) -> Mode:
        """The mode in force."""
        return self._mode

    def limit(self) -> float:
        """The 99th percentile of delays from which on it is too long now, seconds."""
        return self.delays.limit(self.pressure)

    def state(self) -> Mapping[str, object]:
        """For people and machines."""
        counts = self.counts
        return {
            "mode": str(self._mode),
            "why": self.why,
            "configured": self.configured,
            "wish": "off" if self.memory.off else self.memory.wish,
            "support": self.kernel.support,
            "cpu_quotas": list(self.quotas),
            "ignore_cpu_quotas": self.ignore_quotas,
            "returns": {**self.returns.to_json(), "given_up": self.returns.given_up},
            "delays": {
                "counted": sum(counts),
                **{name: quantile(counts, share) for name, share in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999))},
                "longest": longest(counts),
                "limit": self.limit(),
                "pressure": self.pressure,
                "usual": {str(band): seconds for band, seconds in sorted(self.delays.usual.items())},
            },
        }


def cpu_pressure(path: Path = PRESSURE) -> float:
    """Percent of the last 10 s in which some task waited for a processor; 0 where the kernel does not count it."""
    try:
        fields = dict(part.split("=") for part in path.read_text(encoding="ascii").split("\n")[0].split()[1:])
        return float(fields["avg10"])
    except (OSError, ValueError, KeyError):
        return 0.0
