"""What a guest's console says: pure functions from text to a diagnosis."""

from __future__ import annotations

import re
from dataclasses import dataclass

TAIL_LINES = 30
TAIL_WIDTH = 300
# Colours, cursor movements, terminal questions and window titles.
ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_=>c])")
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True)
class Diagnosis:
    """Why a guest will never answer."""

    what: str
    remedy: str


_FATAL: tuple[tuple[re.Pattern[str], Diagnosis], ...] = (
    (
        re.compile(r"Kernel panic - not syncing"),
        Diagnosis("the guest's kernel panicked", "see the console: root file system, initrd and kernel arguments"),
    ),
    (
        re.compile(r"You are in (?:emergency|rescue) mode|Entering emergency mode|Cannot open access to console"),
        Diagnosis("the guest stopped in emergency mode", "see the console for the unit or mount that failed"),
    ),
    (
        re.compile(r"BdsDxe: failed to load .*: Access Denied"),
        Diagnosis(
            "the firmware refused what it was to boot: it trusts no signature of it",
            "check with `lichen inspect` that the image is as it was built; its certificate is enrolled at each boot",
        ),
    ),
    (
        re.compile(r"BdsDxe: No bootable option or device was found|\bShell> |UEFI Interactive Shell"),
        Diagnosis("the firmware found nothing to boot", "check the image's EFI system partition and its boot loader"),
    ),
    (
        re.compile(r"Press any key to proceed|Please enter the new|Please configure the system"),
        Diagnosis(
            "the guest waits for first-boot questions",
            "set locale, time zone and root's password (or lock it) in the image, or systemd-firstboot asks",
        ),
    ),
)


def clean(text: str) -> str:
    """``text`` without terminal control, one line per line."""
    return CONTROLS.sub("", ESCAPES.sub("", text.replace("\r\n", "\n").replace("\r", "\n")))


def tail(text: str, lines: int = TAIL_LINES) -> str:
    """The last lines that say something, shortened to what a person reads."""
    said = [line.rstrip()[:TAIL_WIDTH] for line in clean(text).splitlines() if line.strip()]
    return "\n".join(said[-lines:])


def diagnose(text: str) -> Diagnosis | None:
    """The first thing on the console after which no guest recovers, or None."""
    text = clean(text)
    found = [(match.start(), verdict) for pattern, verdict in _FATAL if (match := pattern.search(text))]
    return min(found, key=lambda pair: pair[0])[1] if found else None
