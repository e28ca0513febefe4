"""/etc/lichen/resources.toml, and the places that no setting moves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lichen_agent.settings import faults, read_values, refuse

from .units import Unit, UnitError, parse_units

CONFIGURATION = Path("/etc/lichen/resources.toml")
CONTROL = Path("/run/lichen-resources/control")
RECORD = Path("/run/lichen-resources/overridden.json")
STATE = Path("/var/lib/lichen-resources")
# While this file is there, nothing is adjusted.
SWITCH = STATE / "off"
LOG = Path("/var/log/lichen-resources/changes.jsonl")


@dataclass(frozen=True)
class Settings:
    """The contents of the file.

    Attributes:
        units: the declared units, inference first.
        interval: seconds between two looks.
        changes_per_minute: most changes within any minute.
        port: of 127.0.0.1, for the metrics.
        log_bytes: of one log file; ``log_files``: how many are kept.
    """

    units: tuple[Unit, ...]
    interval: int
    changes_per_minute: int
    port: int
    log_bytes: int
    log_files: int


# Smallest and largest of each number.
_RANGES: dict[str, tuple[int, int]] = {
    "interval": (1, 60),
    "changes_per_minute": (1, 600),
    "port": (1, 65535),
    "log_bytes": (65536, 1 << 30),
    "log_files": (1, 100),
}


def load_settings(path: Path, memory_total: int) -> Settings:
    """Read the file.

    Args:
        memory_total: bytes that percentages of units refer to.

    Raises:
        SettingsError: it is missing, no TOML, or has faults; all of them are told.
    """
    values = read_values(path)
    problems = faults(values, Settings, _RANGES)
    lines, units = values.get("units"), ()
    if isinstance(lines, list) and all(isinstance(line, str) for line in lines):
        try:
            units = parse_units(lines, memory_total)
        except UnitError as error:
            problems += str(error).splitlines()
    elif lines is not None:
        problems.append("units: is to be a list of lines of text")
    refuse(path, problems)
    return Settings(**{**values, "units": units})
