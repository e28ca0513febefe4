"""What has to outlive the agent: what persons said, returns to EEVDF, and how EEVDF serves this machine."""

from __future__ import annotations

import json
import os
from pathlib import Path

from .guards import Delays, Limits, Returns
from .settings import Settings

# Kept as a file of its own: it is there or not, whatever else is damaged, and works without the agent.
OFF = "off"
# There while our scheduler is in force: whoever finds it at the start knows that the last end was none in good order.
MARK = "active"
STATE = "state.json"
WISHES = ("observe", "active")
# What the command's orders mean.
WISH_OF = {"off": "off", "observe": "observe", "on": "active", "configured": ""}


class Memory:
    """The agent's folder.

    Attributes:
        wish: the mode that a person asked for; "" when the settings hold.
        doubt: why what was kept cannot be trusted, "" when it can. Nothing is tried then until a person says so.
    """

    def __init__(self, folder: Path, delays: Delays, returns: Returns, now: float) -> None:
        self._folder, self._delays, self._returns = folder, delays, returns
        self._off = False
        self.wish = self.doubt = ""
        try:
            self._recall(json.loads((folder / STATE).read_text(encoding="utf-8")), now)
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            self.wish = ""
            self.doubt = f"{folder / STATE} is damaged ({error}); lichen-sched on, observe or configured begins anew"

    def _recall(self, kept: dict[str, object], now: float) -> None:
        wish = kept["wish"]
        if wish not in ("", *WISHES):
            raise ValueError(f"wish = {wish!r}")
        usual = {int(band): float(seconds) for band, seconds in kept["usual"].items()}
        if not all(0 <= seconds < 1e6 for seconds in usual.values()):
            raise ValueError("a delay is out of range")
        self._returns.recall(kept["returns"], now)
        self._delays.usual, self._delays.looks = usual, int(kept["looks"])
        self.wish = wish

    @property
    def off(self) -> bool:
        """Whether the kill switch is on."""
        return self._off or (self._folder / OFF).exists()

    def switch_off(self) -> None:
        """Turn the kill switch on.

        Raises:
            OSError: the file cannot be made; the switch is on until the agent ends.
        """
        self._off = True
        switch_off(self._folder)

    @property
    def marked(self) -> bool:
        """Whether our scheduler was in force at the last end."""
        return (self._folder / MARK).exists()

    def mark(self, active: bool) -> None:
        """Leave or take away the mark.

        Raises:
            OSError: it cannot be left.
        """
        if active:
            (self._folder / MARK).touch()
        else:
            (self._folder / MARK).unlink(missing_ok=True)

    def ask_for(self, wish: str) -> None:
        """Take the kill switch away; a mode, or "" for that of the settings, holds from now on.

        Raises:
            OSError: it cannot be kept.
        """
        self.wish, self.doubt = wish, ""
        self.save()
        (self._folder / OFF).unlink(missing_ok=True)
        self._off = False

    def save(self) -> None:
        """Keep what is known.

        Raises:
            OSError: it cannot be written.
        """
        if self.doubt:
            return
        kept = {
            "wish": self.wish,
            "returns": self._returns.to_json(),
            "usual": self._delays.usual,
            "looks": self._delays.looks,
        }
        path = self._folder / STATE
        new = path.with_suffix(".new")
        with new.open("w", encoding="utf-8") as file:
            json.dump(kept, file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)


def recalled(settings: Settings, folder: Path, now: float) -> tuple[Memory, Delays, Returns]:
    """What is kept in the folder, and the guards that go on from it. ``now`` is in seconds since 1970."""
    limits = Limits(settings.latency_factor, settings.latency_floor_ms / 1000, settings.longest_wait_ms / 1000)
    delays, returns = Delays(limits), Returns(settings.retry_seconds, settings.most_returns)
    return Memory(folder, delays, returns, now), delays, returns


def rests(folder: Path, configured: str) -> bool:
    """Whether there is nothing to do for an agent: the kill switch is on, or nobody wants another mode than off."""
    if (folder / OFF).exists():
        return True
    if configured != "off":
        return False
    try:
        return not json.loads((folder / STATE).read_text(encoding="utf-8"))["wish"]
    except FileNotFoundError:
        return True
    except (OSError, ValueError, TypeError, KeyError):
        return False  # the agent tells what is wrong with it


def switch_off(folder: Path) -> None:
    """Make the kill switch's file; also without the agent.

    Raises:
        OSError: it cannot be made.
    """
    with (folder / OFF).open("w", encoding="utf-8") as file:
        os.fsync(file.fileno())
