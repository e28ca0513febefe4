"""/etc/lichen/guard.toml, and the places that no setting moves."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lichen_agent.settings import faults, read_values, refuse

from .alert import Priority
from .webhook import Webhook

CONFIGURATION = Path("/etc/lichen/guard.toml")
OBJECT = Path("/usr/lib/lichen/bpf/lichen-guard.bpf.o")
# Rules of the image and of the machine's administrator, in this order: later files extend and override earlier ones.
RULES = (Path("/usr/share/lichen/guard/rules"), Path("/etc/lichen/guard/rules"))
CONTROL = Path("/run/lichen-guard/control")
STATE = Path("/var/lib/lichen-guard")
LOG = Path("/var/log/lichen-guard/events.jsonl")
MODES = ("observe", "enforce")


@dataclass(frozen=True)
class Settings:
    """The contents of the file.

    Attributes:
        mode: ``observe``, or ``enforce`` what rules want refused.
        minimum_priority: alerts less urgent than this are only counted.
        alerts_per_minute: of one rule.
        webhook: URL that takes alerts, "" for none.
        port: of 127.0.0.1, for the metrics.
        log_bytes: of one log file; ``log_files``: how many are kept.
        ring_bytes: of the ring buffer between kernel and agent, a power of two.
        model: is there anomaly detection?
        window_seconds: length of a window; ``window_events``: how many end it early.
        learning_windows, learning_minutes: to pass before anything is told.
        false_alarms: share of normal windows that may be told.
        relearn_hours: until a new model is learned and compared with the old.
    """

    mode: str
    minimum_priority: str
    alerts_per_minute: int
    webhook: str
    port: int
    log_bytes: int
    log_files: int
    ring_bytes: int
    model: bool
    window_seconds: int
    window_events: int
    learning_windows: int
    learning_minutes: int
    false_alarms: float
    relearn_hours: int

    @property
    def log(self) -> Path:
        """The newest log file."""
        return LOG


# Smallest and largest of each number.
_RANGES: dict[str, tuple[float, float]] = {
    "alerts_per_minute": (1, 100_000),
    "port": (1, 65535),
    "log_bytes": (65536, 1 << 30),
    "log_files": (1, 100),
    "ring_bytes": (65536, 1 << 28),
    "window_seconds": (1, 3600),
    "window_events": (10, 1_000_000),
    "learning_windows": (50, 100_000),
    "learning_minutes": (0, 100_000),
    "false_alarms": (0.00001, 0.5),
    "relearn_hours": (1, 10_000),
}


def configuration() -> Path:
    """The file, or the copy that systemd hands the service: the file is for root's eyes, a URL may be a secret."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    return Path(folder) / "guard.toml" if folder else CONFIGURATION


def load_settings(path: Path) -> Settings:
    """Read the file.

    Raises:
        SettingsError: it is missing, no TOML, or has faults; all of them are told.
    """
    values = read_values(path)
    refuse(path, faults(values, Settings, _RANGES, _complaint, secrets={"webhook"}))
    return Settings(**values)


def _complaint(name: str, value: object) -> str:
    if name == "mode" and value not in MODES:
        return f"is to be one of {', '.join(MODES)}"
    if name == "minimum_priority" and str(value).upper() not in Priority.__members__:
        return f"is to be one of {', '.join(priority.name.lower() for priority in Priority)}"
    if name == "ring_bytes" and value & (value - 1):
        return "is to be a power of two"
    if name == "webhook" and value:
        try:
            Webhook(str(value))
        except ValueError as error:
            return str(error)
    return ""


def rule_files(folders: Sequence[Path] = RULES) -> list[Path]:
    """The rule files, in the order in which they count: by folder, then by name."""
    return [path for folder in folders for path in sorted(folder.glob("*.yaml")) if not path.name.startswith(".")]
