"""The service: loads the kernel's programs, gives up its rights, and works until it is told to stop."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

from lichen_agent.cgroups import mounted
from lichen_agent.clock import boot_time
from lichen_agent.control import Control
from lichen_agent.escape import escape
from lichen_agent.metrics import serve as serve_metrics
from lichen_agent.privileges import Capability, keep_only
from lichen_agent.settings import SettingsError

from .agent import Agent, Signals
from .kernel import Kernel, Scheduler, SchedulerError
from .memory import recalled
from .metrics import Metrics
from .quotas import limited
from .settings import CONFIGURATION, CONTROL, OBJECT, STATE, Settings, load_settings
from .teacher import LearningRules, Teacher
from .warden import Warden, cpu_pressure

# After the programs are loaded: they are attached anew through what is open already, which needs no right at all. The
# number of a cgroup becomes its name by open_by_handle_at, which needs this one.
KEPT: tuple[Capability, ...] = ("CAP_DAC_READ_SEARCH",)


def say(priority: int, text: str) -> None:
    """Tell the journal, which takes the priority from what a line begins with."""
    print(f"<{priority}>{escape(text, 2000)}", file=sys.stderr, flush=True)


def make_agent(settings: Settings, kernel: Kernel, state: Path) -> Agent:
    """Put an agent together around programs that are loaded.

    Raises:
        OSError: the folder cannot be used.
    """
    memory, delays, returns = recalled(settings, state, time.time())
    root = mounted()
    warden = Warden(
        kernel,
        memory,
        delays,
        returns,
        settings.mode,
        boot_time,
        time.time,
        cpu_pressure,
        lambda: limited(root),
        settings.ignore_cpu_quotas,
    )
    rules = LearningRules(settings.predictor, settings.learning, settings.retrain_hours * 3600.0, settings.margin)
    teacher = Teacher(rules, state / "models", boot_time())
    return Agent(settings, kernel, warden, teacher, Metrics(), say, clock=boot_time)


def serve(agent: Agent, control: Path, signals: Signals) -> None:
    """Run an agent with its port and its control socket.

    Raises:
        OSError: the socket cannot be made.
        SchedulerError: the kernel's programs fail; EEVDF is in force then.
    """
    try:
        serve_metrics(agent.metrics.registry, agent.settings.port)
    except OSError as fault:
        # Any user may take the port; that must not keep the agent from its work.
        port = agent.settings.port
        agent.say(3, f"metrics are not served, port {port}: {fault.strerror}; `ss -ltnp` tells who listens there")
    listener = Control(control, agent.answer)
    try:
        agent.run(signals, listener.turn)
        agent.warden.stop()
    finally:
        # Whatever happened: with the programs closed EEVDF is in force.
        agent.kernel.close()
        listener.close()
        agent.teacher.stop()


def handle_signals() -> Signals:
    """From now on SIGTERM and SIGINT ask for the end."""
    signals = Signals()

    def stop(number: int, _frame: object) -> None:
        signals.stop = number

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    return signals


def main() -> None:
    """Run the service."""
    signals = handle_signals()
    try:
        settings = load_settings(CONFIGURATION)
        kernel = Scheduler(OBJECT, ring_bytes=settings.ring_bytes)
        keep_only(KEPT)
        serve(make_agent(settings, kernel, STATE), CONTROL, signals)
    except (SettingsError, SchedulerError, OSError) as error:
        sys.exit(f"lichen-sched: {error}")


if __name__ == "__main__":
    main()
