"""A command under test, and the places that it works in."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from builder.foundation.place import Cache, Project
from tests.chaos.watch import descendants

REPOSITORY = Path(__file__).resolve().parents[2]
LICHEN = [sys.executable, "-m", "builder.cli.main"]
# What each stage runs; `{tree}` is a folder of the place. `render --packages` fetches as `fetch` does, by the same
# function, and exports what came besides.
COMMANDS: dict[str, list[str]] = {
    "lock": ["lock", "small"],
    "fetch": ["render", "small", "{tree}", "--packages"],
    "build": ["build", "small"],
}
LIMIT_SECONDS = 600.0  # no command takes longer, whatever is done to it
_LEFT_OUT = ("http_proxy", "https_proxy", "no_proxy", "LICHEN_", "UV_")


@dataclass(frozen=True)
class Place:
    """Where one command works: everything lies below ``root``."""

    root: Path

    @property
    def project(self) -> Project:
        return Project(self.root / "project")

    @property
    def cache(self) -> Cache:
        return Cache(self.root / "cache")

    @property
    def temporary(self) -> Path:
        """``TMPDIR`` of the command."""
        return self.root / "tmp"

    @property
    def tree(self) -> Path:
        """Where a rendered tree goes."""
        return self.root / "out" / "tree"

    @property
    def lock(self) -> Path:
        return self.project.lock("small", "amd64")

    @property
    def output(self) -> Path:
        """What the command prints."""
        return self.root / "output"


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit code (None: not in time), what it said, seconds, and what was done to it."""

    code: int | None
    said: str
    seconds: float
    done: str = ""


Meanwhile = Callable[["subprocess.Popen[bytes]"], str]


@dataclass
class Stage(ABC):
    """One command: how to make a place for it, and what must be true of it.

    Attributes:
        seconds: what an undisturbed run takes.
        peaks: bytes that it needs at most in each of its folders.
        reference: what it makes, undisturbed.
    """

    name: ClassVar[str]
    seconds: float = 0.0
    peaks: dict[str, int] = field(default_factory=dict)
    reference: Mapping[str, str] = field(default_factory=dict)

    @abstractmethod
    def place(self, root: Path) -> Place:
        """A fresh place with earlier results, ready for the command."""

    @abstractmethod
    def options(self, place: Place) -> list[str]:
        """Options besides project and cache."""

    @abstractmethod
    def folders(self, place: Place) -> dict[str, Path]:
        """The folders that the command writes to."""

    @abstractmethod
    def earlier(self, place: Place) -> Mapping[str, str]:
        """What the command has no business with: it must stay as it is. Names are relative to the place's root."""

    @abstractmethod
    def result(self, place: Place) -> Mapping[str, str]:
        """What the command made."""

    @abstractmethod
    def halves(self, place: Place) -> list[str]:
        """Results that are there and neither old nor complete."""

    @abstractmethod
    def leftovers(self, place: Place) -> list[str]:
        """Temporary things that must be gone after an orderly end."""

    def resumable(self, place: Place) -> list[str]:
        """Those of them that a failed command keeps on purpose: the next one goes on from there."""
        del place
        return []

    def command(self, place: Place) -> list[str]:
        words = [word.format(tree=place.tree) for word in COMMANDS[self.name]]
        where = ["--project", str(place.project.root), "--cache", str(place.cache.root)]
        return [*LICHEN, *words, *where, *self.options(place)]

    def run(self, place: Place, meanwhile: Meanwhile = lambda _process: "") -> Ended:
        """Run the command to its end; ``meanwhile`` is called once it runs and tells what it did to it."""
        kept = {name: value for name, value in os.environ.items() if not name.lower().startswith(_lower(_LEFT_OUT))}
        environment = {**kept, "PYTHONPATH": str(REPOSITORY), "TMPDIR": str(place.temporary), "UV_HTTP_RETRIES": "0"}
        begin = time.monotonic()
        # A file, not a pipe: what outlives the command must not keep us waiting for the end of its output.
        with place.output.open("wb") as stream:
            process = subprocess.Popen(
                self.command(place), stdout=stream, stderr=stream, env=environment, start_new_session=True
            )
            try:
                done = meanwhile(process)
                code: int | None = process.wait(LIMIT_SECONDS)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                if process.poll() is None:
                    end_family(process.pid)
                    process.wait()
        return Ended(code, place.output.read_text(errors="replace"), time.monotonic() - begin, done)

    def measure(self, place: Place) -> None:
        """Run undisturbed in ``place``, whose folders are file systems of their own: how long, how much, what."""
        folders = self.folders(place)

        def sample(process: subprocess.Popen[bytes]) -> str:
            while process.poll() is None:
                for name, folder in folders.items():
                    room = os.statvfs(folder)
                    used = (room.f_blocks - room.f_bfree) * room.f_frsize
                    self.peaks[name] = max(self.peaks.get(name, 0), used)
                time.sleep(0.005)
            return ""

        ended = self.run(place, sample)
        if ended.code != 0:
            raise RuntimeError(f"{self.name} fails without any disturbance: {ended.said}")
        self.seconds = ended.seconds
        self.reference = self.result(place)


def end_family(pid: int) -> None:
    """SIGKILL to a process and all below it."""
    for one in (pid, *descendants(pid)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)


def below(place: Place, *paths: Path) -> list[str]:
    """Names of what lies in the folders or files ``paths``, if they are there."""
    found: list[str] = []
    for path in paths:
        if path.is_dir():
            found += [str(item.relative_to(place.root)) for item in sorted(path.iterdir())]
    return found


def _lower(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name.lower() for name in names)
