"""Rule files, processes and events for the tests of the rule engine."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from lichen_guard.event import Event, Process
from lichen_guard.rules import Names, RulesError, RuleSet, load_rules

from tests.conftest import REPOSITORY

OWN_RULES = REPOSITORY.overlays / "security-agent/tree/usr/share/lichen/guard/rules"
NAMES = Names(user={0: "root", 1000: "ann"}.get, group={0: "root"}.get)
ACCESS = {"r": 0, "w": 0o1, "rw": 0o2, "truncate": 0o1001, "folder": os.O_RDONLY | os.O_DIRECTORY}


def load(folder: Path, *texts: str) -> RuleSet:
    """Load the texts as files 0.yaml, 1.yaml ..."""
    paths = [folder / f"{number}.yaml" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text)
    return load_rules(paths, NAMES)


def faults(folder: Path, *texts: str) -> list[str]:
    """What loading the texts says; without the folder."""
    try:
        load(folder, *texts)
    except RulesError as error:
        return [str(problem).replace(f"{folder}/", "") for problem in error.problems]
    return []


def rule(condition: str, name: str = "R", more: str = "") -> str:
    """A rule file with one rule."""
    return f"- rule: {name}\n  desc: d\n  condition: {condition}\n  output: o\n  priority: NOTICE\n{more}"


def judge(folder: Path, condition: str, event: Event, before: str = "") -> bool:
    """Whether a condition holds."""
    return bool(load(folder, before + rule(condition)).judge(event))


SYSTEMD = Process(1, 1, "systemd", "/usr/lib/systemd/systemd", ("/sbin/init",))


def process(*command: str, exe: str = "", parent: Process = SYSTEMD, name: str = "", **more: Any) -> Process:
    """A process with these arguments; its program lies in /usr/bin unless told."""
    last = command[0].rpartition("/")[2]
    exe = exe or (command[0] if command[0].startswith("/") else f"/usr/bin/{last}")
    more = {
        "pid": parent.pid + 100,
        "started": 5,
        "uid": 1000,
        "unit": parent.unit,
        "container": parent.container,
        "container_of_root": parent.container_of_root,
    } | more
    return Process(name=name or last[:15], exe=exe, arguments=command, parent=parent, **more)


def happens(kind: Any, who: Process, **more: Any) -> Event:
    """An event."""
    return Event(kind, 10**10, who, **more)


def start(*command: str, **more: Any) -> Event:
    """An exec."""
    return happens("exec", process(*command, **more))


def opens(path: str, who: Process, access: str = "r") -> Event:
    """An open."""
    return happens("open", who, path=path, flags=ACCESS[access])


def connects(who: Process, address: str, port: int = 443) -> Event:
    """A connection by TCP."""
    family = "ipv6" if ":" in address else "ipv4"
    return happens("connect", who, address=address, port=port, family=family, transport="tcp")


def listens(who: Process, address: str, port: int = 4444) -> Event:
    """A TCP port on which somebody waits."""
    return replace(connects(who, address, port), kind="listen")
