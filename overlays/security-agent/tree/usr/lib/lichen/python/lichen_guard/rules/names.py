"""Names of users and groups."""

from __future__ import annotations

import grp
import os
import pwd
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

MOST_NAMES = 1024
# Seconds until it is looked whether the file has changed, and until all is asked anew: systemd's dynamic users and
# those of a directory are in no file.
LOOK, ANEW = 1.0, 60.0


class Remembered:
    """Names of one sort as the machine has them. What was found is kept for a while.

    A rule that asks for names must not open files for every event.

    Args:
        ask: finds a name; raises KeyError or OverflowError when there is none.
        file: when it changes, everything is asked anew.
        clock: seconds.
    """

    def __init__(self, ask: Callable[[int], str], file: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._ask, self._file, self._clock = ask, file, clock
        self._names: dict[int, str | None] = {}
        self._state = self._look()
        self._looked = self._begun = clock()

    def __call__(self, number: int) -> str | None:
        """The name; None when there is none."""
        now = self._clock()
        if now >= self._looked + LOOK:
            self._looked = now
            if (state := self._look()) != self._state or now >= self._begun + ANEW:
                self._names.clear()
                self._state, self._begun = state, now
        if number not in self._names:
            if len(self._names) >= MOST_NAMES:
                del self._names[next(iter(self._names))]
            try:
                self._names[number] = self._ask(number)
            except (KeyError, OverflowError):
                self._names[number] = None
        return self._names[number]

    def _look(self) -> tuple[int, int, int] | None:
        try:
            found = os.stat(self._file)
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size


def _users() -> Remembered:
    return Remembered(lambda number: pwd.getpwuid(number).pw_name, Path("/etc/passwd"))


def _groups() -> Remembered:
    return Remembered(lambda number: grp.getgrgid(number).gr_name, Path("/etc/group"))


@dataclass(frozen=True)
class Names:
    """Who is behind a number; None when nobody is. The machine's own accounts unless others are given."""

    user: Callable[[int], str | None] = field(default_factory=_users)
    group: Callable[[int], str | None] = field(default_factory=_groups)
