"""/etc/lichen/camera-detector.toml, and where the service leaves what it saw."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

CONFIGURATION = Path("/etc/lichen/camera-detector.toml")
STATUS = Path("/run/camera-detector/status.json")
CAMERA = Path("/dev/video0")
TEST_PICTURE = "test"


class SettingsError(Exception):
    """The file cannot be used; the message names it and the fault."""


@dataclass(frozen=True)
class Settings:
    """The contents of the file.

    Attributes:
        device: a camera's device file, ``auto`` or ``test``.
        threshold: lowest score that counts.
        rate: most pictures in a second.
        port: of 127.0.0.1, for the metrics.
    """

    device: str
    model: Path
    threshold: float
    rate: int
    port: int


def load_settings(path: Path = CONFIGURATION) -> Settings:
    """Read the file.

    Raises:
        SettingsError: it is missing, no TOML, or has other keys.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        return Settings(**{**values, "model": Path(values.get("model", ""))})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, TypeError) as error:
        raise SettingsError(f"{path}: {error}") from error


def choose_source(device: str, camera: Path = CAMERA) -> str:
    """What to look at: a device file, or :data:`TEST_PICTURE`."""
    if device == "auto":
        return str(camera) if camera.exists() else TEST_PICTURE
    return device
