"""``lichen fetch``: every file that a lock names into the store, and the store to machines without network."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from builder.data.lock import Lock, LockedFile, read_lock
from builder.data.recipe import Recipe
from builder.foundation.errors import InputError, LichenError
from builder.foundation.inuse import shared
from builder.foundation.progress import step
from builder.foundation.store import Store
from builder.foundation.workbench import Workbench
from builder.steps.bundle import read_bundle, write_bundle
from builder.steps.fetch import AbsentError, fetch, missing_files
from builder.steps.profiles import load_buildable
from builder.verbs.dropped import dropped_problems
from builder.verbs.lock import current_lock
from builder.verbs.sources import find_sources

LockState = Literal["same", "other", "missing"]


@dataclass(frozen=True)
class Fetched:
    """What a lock names and what of it was brought just now; sizes in bytes.

    Attributes:
        bundle: the file that all of it was written to, if any.
    """

    lock: Lock
    files: int
    size: int
    brought: int
    brought_size: int
    bundle: Path | None = None

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "profile": self.lock.profile,
            "architecture": self.lock.architecture,
            "lock": self.lock.digest,
            "files": self.files,
            "bytes": self.size,
            "brought": self.brought,
            "brought_bytes": self.brought_size,
            **({"bundle": str(self.bundle)} if self.bundle else {}),
        }


@dataclass(frozen=True)
class Imported:
    """What came with a bundle. ``state`` compares its lock with the project's own for the same image."""

    fetched: Fetched
    path: Path
    state: LockState

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {**self.fetched.as_dict(), "path": str(self.path), "project_lock": self.state}


def fetch_profile(
    workbench: Workbench, name: str, architecture: str | None = None, *, export: Path | None = None
) -> Fetched:
    """Bring everything that the profile's lock names into the store.

    Args:
        export: write all of it and the lock to this file too.

    Raises:
        InputError: the profile is wrong, or its lock is missing or stale.
        LichenError: a file cannot be had, or the disk is full.
    """
    recipe = load_buildable(workbench.project, name)
    lock = current_lock(workbench, recipe, recipe.require_architecture(architecture))
    with shared(workbench.cache):
        brought = bring(workbench, recipe, lock, lock.files)
        if export:
            write_bundle(Store(workbench.cache.store), lock, export, workbench.progress)
    return Fetched(lock, len(lock.files), _size(lock.files), len(brought), _size(brought), export)


def import_bundle(workbench: Workbench, bundle: Path) -> Imported:
    """Take the files of a bundle into the store. The project's own lock is compared, never changed.

    Raises:
        InputError: the file is no bundle, or is damaged; what was good before stays in the store.
        LichenError: the disk is full.
    """
    with shared(workbench.cache):
        lock, brought = read_bundle(Store(workbench.cache.store), bundle, workbench.progress)
    path = workbench.project.lock(lock.profile, lock.architecture)
    state: LockState = "missing"
    if path.exists():
        state = "other"
        with contextlib.suppress(InputError):  # a damaged one is another one
            state = "same" if read_lock(path).digest == lock.digest else "other"
    size = _size([file for file in lock.files if file.sha256 in brought])
    return Imported(Fetched(lock, len(lock.files), _size(lock.files), len(brought), size, bundle), path, state)


def bring(workbench: Workbench, recipe: Recipe, lock: Lock, files: Sequence[LockedFile]) -> list[LockedFile]:
    """Have ``files`` of a lock in the store; those that had to be fetched.

    Mirrors are looked for only when something is missing. When all of them answered and have dropped files, the
    error tells what a new lock would bring instead.

    Raises:
        InputError: an archive, the wheels or a model have no source.
        LichenError: a file cannot be had, or the store cannot be written.
    """
    store = Store(workbench.cache.store)
    with step(workbench.progress, "checking the store"):
        missing = missing_files(store, files, workbench.progress)
    if missing:
        sources = find_sources(workbench, recipe, missing, lock.suites)
        try:
            fetch(store, missing, sources, workbench.progress)
        except AbsentError as error:
            # With a mirror that is down, files are not known to be gone, and asking it more would only take time.
            if not all(item.dropped for item in error.absent):
                raise
            raise LichenError(dropped_problems(workbench, recipe, lock, error.absent)) from error
    return missing


def _size(files: Sequence[LockedFile]) -> int:
    return sum(file.size for file in files)
