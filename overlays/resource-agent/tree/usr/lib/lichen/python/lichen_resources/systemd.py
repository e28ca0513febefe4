"""systemd, which owns the tree of cgroups: what units are set to, and setting them while they run.

A runtime property, not a file of the cgroup: systemd writes all files of a unit anew whenever it touches one of them,
so that whatever somebody else wrote there vanishes sooner or later; a property survives that, and everybody sees it
(``systemctl show``, ``systemctl cat``). It needs no right beyond being root, and is gone after a reboot.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .units import UNLIMITED, Knob

PROPERTIES: Mapping[Knob, str] = {"cpu": "CPUWeight", "io": "IOWeight", "memory": "MemoryHigh"}
# Where systemd keeps runtime properties.
CONTROL = Path("/run/systemd/system.control")
UNSET = "[not set]"
_ASKED = ("Id", "LoadState", "ActiveState", "ControlGroup", *PROPERTIES.values())
_OOMD = ("ManagedOOMMemoryPressure", "ManagedOOMMemoryPressureLimit", "ManagedOOMSwap", "ManagedOOMPreference")
PATIENCE = 60.0  # seconds; an emulated machine takes its time


class SystemdError(Exception):
    """systemd did not do it; the message says what and why."""


class Runner(Protocol):
    """Runs ``systemctl`` with arguments and returns what it prints."""

    def __call__(self, *arguments: str) -> str:
        """Do it, or raise SystemdError."""


def systemctl(*arguments: str) -> str:
    """Run it.

    Raises:
        SystemdError: it failed, is not there or did not end.
    """
    command = ["systemctl", "--no-pager", "--no-ask-password", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SystemdError(f"systemctl {arguments[0]}: {error}") from error
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
        raise SystemdError(f"systemctl {arguments[0]}: {said[-1]}")
    return done.stdout


@dataclass(frozen=True)
class Shown:
    """A unit as systemd has it.

    Attributes:
        state: ``active``; otherwise why it is not adjusted.
        cgroup: its path, "" when it has none.
        values: of each knob; missing: it is set to what is no number, as ``idle``.
        texts: the same in systemd's words, to be set again as they were.
        oomd: what systemd-oomd is to do with it.
    """

    state: str
    cgroup: str
    values: Mapping[Knob, int]
    texts: Mapping[Knob, str]
    oomd: Mapping[str, str]


def show(names: Sequence[str], run: Runner = systemctl) -> dict[str, Shown]:
    """Ask for units, by name.

    Raises:
        SystemdError: systemd does not answer.
    """
    if not names:
        return {}
    asked = ",".join([*_ASKED, *_OOMD])
    text = run("show", f"--property={asked}", "--", *names)
    blocks = [_block(block) for block in text.strip().split("\n\n")]
    if len(blocks) != len(names):
        raise SystemdError(f"systemctl show: {len(blocks)} answers for {len(names)} units")
    # By position: of an alias, systemd tells the name of the unit behind it.
    return {name: _shown(block) for name, block in zip(names, blocks, strict=True)}


def _block(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def _shown(block: Mapping[str, str]) -> Shown:
    state = block.get("ActiveState", "unknown")
    if block.get("LoadState") != "loaded":
        state = "there is no such unit" if block.get("LoadState") == "not-found" else block.get("LoadState", "unknown")
    texts = {knob: block.get(name, UNSET) for knob, name in PROPERTIES.items()}
    values = {knob: value for knob, text in texts.items() if (value := parse_value(text)) is not None}
    oomd = {name: block[name] for name in _OOMD if name in block}
    return Shown(state, block.get("ControlGroup", ""), values, texts, oomd)


def parse_value(text: str) -> int | None:
    """A property of a knob as systemd prints it; None when it is no number."""
    if text == "infinity":
        return UNLIMITED
    if text == UNSET:
        return 100
    return int(text) if text.isdecimal() else None


def set_property(name: str, knob: Knob, text: str, run: Runner = systemctl) -> None:
    """Set a knob until the next boot; ``text`` as systemd writes it, :data:`UNSET` for none.

    Raises:
        SystemdError: systemd refuses; the unit has what it had.
    """
    run("set-property", "--runtime", "--", name, f"{PROPERTIES[knob]}={'' if text == UNSET else text}")


def drop_in(name: str, knob: Knob, control: Path = CONTROL) -> Path:
    """The file in which systemd keeps such a property."""
    return control / f"{name}.d" / f"50-{PROPERTIES[knob]}.conf"
