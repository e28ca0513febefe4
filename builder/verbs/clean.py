"""What the cache holds, what of it the project still needs, and removing the rest or the older part of it.

Finished images (``out/``) are results, not cache: they are never touched.

Last use: a file of the store when it was fetched or last taken into a build (its time of access is set then; somebody
else who reads it only keeps it longer), a component when it was built or last taken into one (its folder's time of
change is set then), anything else when something below it last changed.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from builder.data.lock import iso_date, read_lock
from builder.foundation.errors import InputError, LichenError, Problem
from builder.foundation.inuse import exclusive
from builder.foundation.place import Cache
from builder.foundation.workbench import Workbench
from builder.steps.components import HISTORY
from builder.steps.profiles import load_recipe, profile_names
from builder.verbs.boot import machines_folder, running_machines
from builder.verbs.lock import current_lock
from builder.verbs.plan import image_components

Scope = Literal["unused", "all"]
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Holding:
    """Something that the cache holds and that is removed as a whole.

    Attributes:
        kind: ``store``, ``component NAME``, or the name of another folder of the cache.
        size: bytes on disk.
        needed: a lock or plan of this project uses it.
        used: when it was last used, seconds since 1970.
    """

    kind: str
    path: Path
    size: int
    needed: bool
    used: float

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        told = {"kind": self.kind, "path": str(self.path), "size": self.size, "needed": self.needed}
        return {**told, "used": iso_date(datetime.fromtimestamp(self.used, UTC))}


@dataclass(frozen=True)
class Cleaned:
    """What went, or would go; ``left`` is what stays, in bytes, and ``over`` by how much that is more than asked."""

    removed: tuple[Holding, ...]
    left: int
    over: int


@dataclass(frozen=True)
class _Needs:
    """What the project's locks and plans use; ``components`` is None when that cannot be known.

    ``history`` tells whether earlier runs are worth remembering.
    """

    files: frozenset[str]
    components: frozenset[str] | None
    history: bool = True


def examine_cache(workbench: Workbench) -> tuple[Holding, ...]:
    """Everything in the cache, by kind and path.

    Raises:
        InputError: a lock is damaged, so that nobody can say what it needs.
    """
    needs = _needs(workbench)
    return tuple(_holdings(workbench.cache, needs))


def clean(
    workbench: Workbench,
    scope: Scope,
    *,
    older_than: timedelta | None = None,
    max_size: int | None = None,
    dry_run: bool = False,
) -> Cleaned:
    """Remove what no lock or plan of this project needs, or everything.

    Args:
        older_than: let stay what was used since.
        max_size: let stay what makes the cache no larger than so many bytes; oldest use goes first.
        dry_run: only tell what would go.

    Raises:
        InputError: a lock is damaged (scope ``unused`` only).
        LichenError: the cache is in use, or something cannot be removed.
    """
    with contextlib.nullcontext() if dry_run else exclusive(workbench.cache):
        needs = _Needs(frozenset(), frozenset(), history=False) if scope == "all" else _needs(workbench)
        holdings = tuple(_holdings(workbench.cache, needs))
        before = (workbench.clock() - older_than).timestamp() if older_than else None
        going = choose(holdings, before, max_size)
        if going and not dry_run:
            _remove(workbench.cache, going)
    left = sum(item.size for item in holdings) - sum(item.size for item in going)
    return Cleaned(going, left, max(0, left - max_size) if max_size is not None else 0)


def choose(holdings: Sequence[Holding], before: float | None, max_size: int | None) -> tuple[Holding, ...]:
    """What of a cache is to go, oldest use first; never what is needed. Pure.

    Args:
        before: what was last used earlier goes, seconds since 1970.
        max_size: what brings the cache down to so many bytes goes too. With neither, all that is not needed goes.
    """
    left = sum(item.size for item in holdings)
    going = []
    for item in sorted((item for item in holdings if not item.needed), key=lambda item: (item.used, item.path)):
        old = before is not None and item.used < before
        if old or (max_size is not None and left > max_size) or (before is None and max_size is None):
            going.append(item)
            left -= item.size
    return tuple(going)


def _needs(workbench: Workbench) -> _Needs:
    files: set[str] = set()
    problems: list[Problem] = []
    for path in sorted(workbench.project.locks.glob("*.json")):
        try:
            lock = read_lock(path)
        except InputError as error:
            problems.extend(error.problems)
            continue
        files.update(file.sha256 for file in lock.files)
    if problems:
        raise InputError(problems)
    return _Needs(frozenset(files), _planned(workbench))


def _planned(workbench: Workbench) -> frozenset[str] | None:
    """Keys of all components that the project's plans name; None when a locked profile has no plan now.

    Modules are needed with and without signatures, whether or not this command was told a key.
    """
    keys: set[str] = set()
    for name in profile_names(workbench.project):
        try:
            recipe = load_recipe(workbench.project, name)
            certificate = recipe.kernel.certificate if recipe.kernel else None
            for architecture in () if recipe.profile.abstract else recipe.profile.architectures:
                if workbench.project.lock(name, architecture).is_file():
                    lock = current_lock(workbench, recipe, architecture)
                    for signed_for in {None, certificate.sha256 if certificate else None}:
                        keys.update(item.key for item in image_components(recipe, lock, signed_for))
        except InputError as error:
            workbench.progress.note(f"keeping all components, {name} has no plan: {error.problems[0].what}")
            return None
    return frozenset(keys)


def _holdings(cache: Cache, needs: _Needs) -> Iterator[Holding]:
    running = frozenset(running_machines(cache))
    if running:
        # They run from the tools tree, and outlive the command that started them.
        needs = replace(needs, components=None)
    for folder in sorted(path for path in cache.root.glob("*") if path.is_dir() and not path.is_symlink()):
        if folder == cache.store:
            for path in sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()):
                yield _object_holding(path, needs)
        elif folder == cache.components:
            yield from _component_holdings(folder, needs)
        else:
            for path in sorted(folder.glob("*")):
                yield _holding(folder.name, path, folder == machines_folder(cache) and path.name in running)


def _object_holding(path: Path, needs: _Needs) -> Holding:
    digest = _SHA256.search(path.name)
    found = _holding("store", path, bool(digest and digest[0] in needs.files))
    with contextlib.suppress(OSError):
        found = replace(found, used=max(found.used, path.lstat().st_atime))
    return found


def _component_holdings(folder: Path, needs: _Needs) -> Iterator[Holding]:
    # Lock files go with their component; a name with a dot is one whose building was killed.
    for path in sorted(path for path in folder.glob("*/*") if path.suffix != ".lock"):
        if path.name == HISTORY:
            yield _holding("history", path, needs.history)
            continue
        needed = not path.name.startswith(".") and (needs.components is None or path.name in needs.components)
        yield _holding(f"component {path.parent.name}", path, needed, noted=True)


def _holding(kind: str, path: Path, needed: bool, *, noted: bool = False) -> Holding:
    """What is at ``path``; ``noted`` tells that its own time of change is its last use, whatever those below it say."""
    size, own, newest = _measured(path)
    return Holding(kind, path, size, needed, own if noted else newest)


def _measured(path: Path) -> tuple[int, float, float]:
    """Bytes that ``path`` and all below it occupy, hard links counted once; its time of change, and the newest of all.

    What is gone meanwhile, or not ours to read, counts nothing.
    """
    seen: set[tuple[int, int]] = set()
    total, own, newest = 0, 0.0, 0.0
    waiting = [path]
    while waiting:
        current = waiting.pop()
        try:
            status = current.lstat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            total += status.st_blocks * 512
            own = own or status.st_mtime
            newest = max(newest, status.st_mtime)
            if current.is_dir() and not current.is_symlink():
                waiting.extend(Path(entry.path) for entry in os.scandir(current))
        except OSError:
            continue  # the figures are for people, removing will tell
    return total, own, newest


def _remove(cache: Cache, going: tuple[Holding, ...]) -> None:
    """Rename each holding aside, then delete: a kill in between leaves no half-removed component under its key."""
    problems: list[Problem] = []
    cache.workspace.mkdir(exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix="removed-", dir=cache.workspace))
    for number, item in enumerate(going):
        target = aside / str(number)
        try:
            item.path.rename(target)
            item.path.with_name(f".{item.path.name}.lock").unlink(missing_ok=True)
            if target.is_dir() and not target.is_symlink():
                shutil.rmtree(target)
            else:
                target.unlink()
        except OSError as error:
            remedy = "run the command as the user who built it, or with sudo"
            problems.append(Problem("cannot be removed", str(item.path), str(error), remedy))
    shutil.rmtree(aside, ignore_errors=True)
    if problems:
        raise LichenError(problems)


@dataclass
class Summary:
    """Of one kind: items, bytes, and of those that nothing needs the items, their bytes and the oldest use."""

    items: int = 0
    size: int = 0
    unneeded: int = 0
    unneeded_size: int = 0
    oldest: datetime | None = None


def summary(holdings: Iterable[Holding]) -> dict[str, Summary]:
    """What each kind comes to."""
    totals: dict[str, Summary] = {}
    for item in holdings:
        total = totals.setdefault(item.kind, Summary())
        total.items += 1
        total.size += item.size
        if not item.needed:
            used = datetime.fromtimestamp(item.used, UTC)
            total.unneeded += 1
            total.unneeded_size += item.size
            total.oldest = min(total.oldest or used, used)
    return totals
