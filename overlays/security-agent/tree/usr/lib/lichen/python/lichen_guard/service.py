"""The service: attaches the sensor, gives up its rights, and works until it is told to stop."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from lichen_agent.clock import boot_time
from lichen_agent.control import Control
from lichen_agent.metrics import serve as serve_metrics
from lichen_agent.privileges import Capability, keep_only
from lichen_agent.settings import SettingsError

from .agent import Agent, SensorLike, Signals
from .alert import Priority
from .anomaly import Detector, LearningRules
from .metrics import Metrics
from .outputs import make_outputs
from .reports import Mark
from .rules import RulesError, RuleSet, load_rules
from .sensor import Sensor, SensorError
from .settings import CONTROL, OBJECT, RULES, STATE, Settings, configuration, load_settings, rule_files
from .windows import SECOND

# After the programs are attached: maps are read and written through what is open already, which needs no right at all.
# The number of a cgroup becomes its name, and so its unit, by open_by_handle_at, which needs this one. What runs
# already was looked at in /proc, with CAP_SYS_PTRACE; of processes whose start is lost later the program's file stays
# unknown, a small price for an agent that cannot be used to write into others.
KEPT: Sequence[Capability] = ("CAP_DAC_READ_SEARCH",)


def load_all() -> RuleSet:
    """The rules of image and administrator.

    Raises:
        RulesError: something in them is wrong.
    """
    return load_rules(rule_files())


def first_rules(load: Callable[[], RuleSet], shipped: Callable[[], RuleSet]) -> tuple[RuleSet, RulesError | None]:
    """The rules to start with: when the administrator's are malformed, those of the image alone, and what is wrong.

    Raises:
        RulesError: those of the image are malformed too.
    """
    try:
        return load(), None
    except RulesError as error:
        return shipped(), error


def make_agent(settings: Settings, sensor: SensorLike, state: Path) -> Agent:
    """Put an agent together around a sensor that is attached; gives up all rights that it needs no more.

    Raises:
        RulesError: the image's own rules are malformed.
        OSError: a right cannot be given up.
    """
    rules, error = first_rules(load_all, lambda: load_rules(rule_files(RULES[:1])))
    keep_only(KEPT)
    metrics = Metrics()
    unserved = ""
    try:
        serve_metrics(metrics.registry, settings.port)
    except OSError as fault:
        # Any user may take the port; that must not keep the agent from its work.
        unserved = f"port {settings.port}: {fault.strerror}; `ss -ltnp` tells who listens there"
    agent = Agent(
        settings, sensor, rules, load_all, make_outputs(settings, metrics), metrics, make_detector(settings, state)
    )
    agent.apply(rules)
    if error:
        agent.refuse(error.problems)
    if unserved:
        agent.say("Metrics not served", Priority.ERROR, unserved)
    return agent


def make_detector(settings: Settings, state: Path) -> Detector | None:
    """The anomaly detection that the settings ask for, with what it learned before."""
    if not settings.model:
        return None
    minutes, hours = settings.learning_minutes * 60.0, settings.relearn_hours * 3600.0
    rules = LearningRules(settings.learning_windows, minutes, settings.false_alarms, hours)
    return Detector(rules, state, settings.window_seconds * SECOND, boot_time())


def serve(agent: Agent, state: Path, control: Path, signals: Signals) -> None:
    """Run an agent, with its mark and its control socket. Its end is told, whatever it is, as long as we live.

    Raises:
        OSError: the socket cannot be made.
    """
    mark = Mark(state / "attached")
    if alert := mark.find(boot_time()):
        agent.outputs.tell(alert)
    try:
        mark.set()
    except OSError as error:
        agent.say("Mark not left", Priority.ERROR, f"{error}; the next start will not know how this one ended")
    listener = Control(control, agent.answer)
    try:
        agent.run(signals, listener.turn)
        mark.clear()
    except Exception as error:
        text = f"{type(error).__name__}: {error}; nothing is seen from now on"
        agent.say("Agent failed", Priority.CRITICAL, text)
        raise
    finally:
        listener.close()
        agent.sensor.close()
        if agent.detector:
            agent.detector.stop()
            agent.detector.save(boot_time())
        agent.outputs.close()


def handle_signals() -> Signals:
    """From now on SIGTERM and SIGINT ask for the end and SIGHUP for the rules to be read anew."""
    signals = Signals()

    def stop(number: int, _frame: object) -> None:
        signals.stop = number

    def reload(_number: int, _frame: object) -> None:
        signals.reload = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGHUP, reload)
    return signals


def main() -> None:
    """Run the service."""
    signals = handle_signals()
    try:
        settings = load_settings(configuration())
        sensor = Sensor(OBJECT, ring_bytes=settings.ring_bytes)
        serve(make_agent(settings, sensor, STATE), STATE, CONTROL, signals)
    except (SettingsError, SensorError, RulesError, OSError) as error:
        sys.exit(f"lichen-guard: {error}")


if __name__ == "__main__":
    main()
