"""Which static values were overridden, kept in a file that outlives the agent, and giving them back.

Written before each change: whatever happens in between, whoever comes next (systemd's ExecStopPost=, the next start,
``lichen-resources off``) knows what to give back. It lies in /run as the properties themselves do: a reboot ends both.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from .systemd import CONTROL, Runner, SystemdError, drop_in, set_property, systemctl
from .units import KNOBS, Knob


@dataclass(frozen=True)
class Kept:
    """What one knob was: in systemd's words, and whether a runtime property of somebody else gave that value."""

    text: str
    foreign: bool


class Record:
    """The file.

    Args:
        path: it; ``control``: where systemd keeps runtime properties.
    """

    def __init__(self, path: Path, control: Path = CONTROL, run: Runner = systemctl) -> None:
        self._path, self._control, self._run = path, control, run
        self.kept = _read(path)

    def keep(self, name: str, knob: Knob, text: str) -> None:
        """Remember the static value of a knob that is about to be set for the first time.

        Raises:
            OSError: the file cannot be written; nothing may be set then.
        """
        if (name, knob) not in self.kept:
            foreign = drop_in(name, knob, self._control).exists()
            self._write({**self.kept, (name, knob): Kept(text, foreign)})

    def give_back(self, name: str, knob: Knob) -> str | None:
        """Set a knob to its static value and remove the property. None, or why that failed.

        A unit that is gone keeps no value; its property is removed all the same, or the next of that name had it.
        """
        kept = self.kept[name, knob]
        failed = None
        try:
            set_property(name, knob, kept.text, self._run)
        except SystemdError as error:
            failed = str(error)
        self.forget(name, knob)
        return failed

    def forget(self, name: str, knob: Knob) -> None:
        """Remove our property without setting anything: from now on the unit's own files count, or somebody else's."""
        kept = self.kept.pop((name, knob))
        if not kept.foreign:
            path = drop_in(name, knob, self._control)
            with contextlib.suppress(OSError):
                path.unlink()
            with contextlib.suppress(OSError):
                path.parent.rmdir()
        self._write_less()

    def release(self, name: str, knob: Knob) -> None:
        """Leave a knob to somebody who has set it himself: nothing is set, nothing removed."""
        if self.kept.pop((name, knob), None):
            self._write_less()

    def give_back_all(self) -> dict[tuple[str, Knob], str]:
        """All static values again; what failed, and why.

        systemd reads its files anew afterwards: it would otherwise tell everybody that they had changed.
        """
        failed = {}
        keys = list(self.kept)
        for name, knob in keys:
            if (why := self.give_back(name, knob)) is not None:
                failed[name, knob] = why
        if keys:
            with contextlib.suppress(SystemdError):
                self._run("daemon-reload")
        return failed

    def _write_less(self) -> None:
        # Giving back must not end at a full disk: at worst a static value is set once more.
        with contextlib.suppress(OSError):
            self._write(self.kept)

    def _write(self, kept: Mapping[tuple[str, Knob], Kept]) -> None:
        rows = [{"unit": name, "knob": knob, **asdict(value)} for (name, knob), value in kept.items()]
        new = self._path.with_suffix(".new")
        with open(new, "w", encoding="utf-8") as file:
            json.dump(rows, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, self._path)
        self.kept = dict(kept)


def _read(path: Path) -> dict[tuple[str, Knob], Kept]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return {
            (str(r["unit"]), r["knob"]): Kept(str(r["text"]), bool(r["foreign"])) for r in rows if r["knob"] in KNOBS
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError):
        # Written at once by us alone: damaged only by somebody's hand. Then nothing is known, and nothing touched.
        return {}
