"""A project and a cache of their own for one test, with parts that this machine's cache holds already."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from builder.data.lock import Lock, read_lock
from builder.data.plan import Component
from builder.data.recipe import Recipe
from builder.foundation.digest import digest_file
from builder.foundation.place import Cache, Project
from builder.foundation.progress import Quiet
from builder.foundation.workbench import Workbench
from builder.steps.profiles import load_buildable
from builder.verbs.lock import lock
from builder.verbs.plan import image_components

REPOSITORY = Path(__file__).resolve().parents[2]
PARTS = ("mkosi", "tools", "base", "initrd", "python")


@dataclass
class Notes(Quiet):
    """Keeps what a person would have been told."""

    notes: list[str] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)

    def started(self, step: str) -> None:
        self.steps.append(step)

    def note(self, text: str) -> None:
        self.notes.append(text)


@dataclass(frozen=True)
class Bench:
    """Where a test builds: a project, a cache, and what was told."""

    project: Project
    cache: Cache
    told: Notes = field(default_factory=Notes)
    profile: str = "small"

    @property
    def workbench(self) -> Workbench:
        return Workbench(self.project, self.cache, progress=self.told)

    @property
    def lock(self) -> Lock:
        return read_lock(self.project.lock(self.profile, "amd64"))

    @property
    def recipe(self) -> Recipe:
        return load_buildable(self.project, self.profile)

    @property
    def image(self) -> Path:
        return self.project.image(self.profile, "amd64", self.lock.digest)

    @property
    def log(self) -> Path:
        """Where the build writes while it runs, and what stays when it fails."""
        return self.image.with_name(f"{self.image.name}.log")

    def component(self, name: str) -> Component:
        (found,) = (item for item in image_components(self.recipe, self.lock) if item.name == name)
        return found

    def kept(self, name: str) -> Path:
        return self.cache.components / name / self.component(name).key

    def relock(self) -> None:
        """After a change that moves no version: needs no network."""
        lock(Workbench(self.project, self.cache), self.profile)

    def command(self, *more: str, profile: str | None = None) -> list[str]:
        words = ["build", profile or self.profile, "--project", str(self.project.root), "--cache", str(self.cache.root)]
        return [sys.executable, "-m", "builder.cli.main", *words, "--verbose", *more]

    def start(self, *more: str, profile: str | None = None) -> subprocess.Popen[str]:
        """``lichen build`` as a process of its own."""
        return subprocess.Popen(
            self.command(*more, profile=profile),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )

    def leftovers(self) -> list[str]:
        """What a build under way has that must be gone when it ended."""
        found = [*self.cache.workspace.glob("run-*"), *self.project.images.glob(".*")]
        for folder in self.cache.components.glob("*"):
            if not folder.is_symlink():
                found += folder.glob(".*")
        return [str(path) for path in found]


def make_bench(root: Path, source: Project, machine: Cache, own: Iterable[str]) -> Bench:
    """A bench below ``root``: a copy of ``source``, and a cache that leads to this machine's for all but ``own``."""
    for name in ("profiles", "overlays", "kernel-configs"):
        if (source.root / name).is_dir():
            shutil.copytree(source.root / name, root / "project" / name, symlinks=True)
    cache = Cache(root / "cache")
    cache.components.mkdir(parents=True)
    cache.store.symlink_to(machine.store)
    for name in PARTS:
        if name not in own:
            lend(cache, machine, name)
    return Bench(Project(root / "project"), cache)


def lend(cache: Cache, machine: Cache, name: str) -> None:
    """Let ``cache`` have this machine's component ``name``, instead of its own."""
    shutil.rmtree(cache.components / name, ignore_errors=True)
    (cache.components / name).symlink_to(machine.components / name)


def wait_until(condition: Callable[[], object], process: subprocess.Popen[str] | None = None) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert process is None or process.poll() is None, process.communicate() if process else ""
        assert time.monotonic() < deadline, "waited for five minutes"
        time.sleep(0.005)


def processes_at(root: Path) -> list[str]:
    """Processes that name ``root`` in their command line or have something of it mounted."""
    name = "/".join(root.parts[-2:])  # a mount tells the path on its own file system
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            mounts = (folder / "mountinfo").read_text()
        except OSError:  # it ended meanwhile
            continue
        if name in command or name in mounts:
            found.append(f"{folder.name}: {command}")
    return found


def described(root: Path) -> Mapping[str, tuple[object, ...]]:
    """Everything below ``root`` that could reach an image."""
    return dict(_described(root))


def _described(root: Path) -> Iterator[tuple[str, tuple[object, ...]]]:
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content = ""
        if stat.S_ISREG(status.st_mode):
            content = digest_file(path)
        elif stat.S_ISLNK(status.st_mode):
            content = str(path.readlink())
        yield str(path.relative_to(root)), (status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, content)


def swap(path: Path, old: str, new: str) -> None:
    """Replace the one place that matches the pattern ``old``."""
    text, count = re.subn(old, new, path.read_text())
    assert count == 1
    path.write_text(text)
