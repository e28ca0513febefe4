"""Events and days of ordinary work, made for tests."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from lichen_guard.event import Event, Kind, Process
from lichen_guard.windows import SECOND, Window, Windows

LENGTH = 60 * SECOND


def made(
    kind: Kind = "exec", time: int = 0, unit: str = "web.service", exe: str = "/usr/bin/web", **more: Any
) -> Event:
    """An event; what :class:`Process` has goes there."""
    fields = {name: more.pop(name) for name in list(more) if name in Process.__dataclass_fields__}
    process = Process(100, name=exe.rpartition("/")[2][:15], exe=exe, unit=unit, **fields)
    return Event(kind, time, process, **more)


def ordinary(minutes: int, seed: int = 0, start: int = 0) -> Iterator[Event]:
    """A web server that connects to its database, and a backup that starts programs; each minute a bit different."""
    noise = random.Random(seed)
    master = Process(1, exe="/usr/bin/web", unit="web.service")
    for minute in range(minutes):
        begin = start + minute * LENGTH
        times = sorted(begin + noise.randrange(LENGTH) for _ in range(noise.randint(5, 30)))
        for time in times:
            port = noise.choice([5432, 5432, 5432, 443])
            yield made("connect", time, address=f"10.0.0.{noise.randint(1, 4)}", port=port)
        if minute % 5 == 0:
            yield made(
                "exec", begin + LENGTH - 2, exe="/usr/bin/logrotate", parent=master, arguments=("logrotate", "-f")
            )
        for step in range(noise.randint(1, 6)):
            tool = noise.choice(["tar", "gzip", "find"])
            yield made("exec", begin + LENGTH - 1, "backup.service", f"/usr/bin/{tool}", arguments=(tool, "x" * step))


def attack(start: int) -> Iterator[Event]:
    """The web server starts a shell that unpacks and runs something from memory, then removes its traces."""
    web = Process(1, exe="/usr/bin/web", unit="web.service")
    for step, exe in enumerate(["/usr/bin/dash", "/tmp/.x9f3kqz81", "/memfd:kworker", "/usr/bin/nc"]):
        hidden = exe.startswith("/memfd")
        yield made("exec", start + step, exe=exe, parent=web, in_memory=hidden, arguments=("sh", "-c", "a" * 300))
    for step in range(20):
        yield made("connect", start + 10 + step, exe="/usr/bin/nc", address=f"203.0.113.{step}", port=4000 + step)
        yield made("unlink", start + 40 + step, exe="/usr/bin/rm", path=f"/var/log/{step}.log")


def gathered(events: Iterator[Event], windows: Windows | None = None) -> list[Window]:
    """The windows of events in the order in which they end; all are closed at the end."""
    windows, last = windows or Windows(LENGTH), 0
    closed: list[Window] = []
    for event in sorted(events, key=lambda event: event.time):
        last = event.time
        closed += windows.expire(event.time) + windows.add(event)
    closed += windows.expire(last + LENGTH)
    return closed
