"""The service: gives back what an earlier run may have left, and works until it is told to stop."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from lichen_agent.cgroups import mounted
from lichen_agent.control import Control
from lichen_agent.metrics import serve as serve_metrics
from lichen_agent.settings import SettingsError

from .agent import Agent, say
from .audit import AuditLog
from .looking import Looker
from .metrics import Metrics
from .pressure import memory_total
from .record import Record
from .settings import CONFIGURATION, CONTROL, LOG, RECORD, SWITCH, Settings, load_settings


def make_agent(settings: Settings, root: Path) -> Agent:
    """Put the agent together, with its metrics served.

    Raises:
        OSError: the record cannot be written.
    """
    record = Record(RECORD)
    log = AuditLog(LOG, settings.log_bytes, settings.log_files)
    # Left by a run that ended so that not even systemd's side could clean up: what is static has to be known first.
    for (name, knob), kept in list(record.kept.items()):
        say(4, f"{name} {knob}: an earlier run left it changed; it is {kept.text} again")
        log.tell(
            {
                "unit": name,
                "knob": knob,
                "from": "?",
                "to": kept.text,
                "actor": "start",
                "reason": "left by an earlier run",
            }
        )
    record.give_back_all()
    metrics = Metrics()
    try:
        serve_metrics(metrics.registry, settings.port)
    except OSError as fault:
        # Any user may take the port; that must not keep the agent from its work.
        say(3, f"metrics not served: port {settings.port}: {fault.strerror}; `ss -ltnp` tells who listens there")
    looker = Looker(settings.units, root, os.cpu_count() or 1)
    return Agent(settings, looker, record, log, metrics, SWITCH)


def main() -> None:
    """Run the service."""
    stop: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda told, _frame: stop.append(told))
    try:
        settings = load_settings(CONFIGURATION, memory_total())
        root = mounted()
        if root is None:
            sys.exit("lichen-resources: no unified hierarchy of cgroups is mounted; boot with cgroup v2")
        agent = make_agent(settings, root)
        control = Control(CONTROL, agent.answer)
        try:
            agent.run(lambda: bool(stop), control.turn)
        finally:
            control.close()
    except (SettingsError, OSError) as error:
        sys.exit(f"lichen-resources: {error}")


if __name__ == "__main__":
    main()
