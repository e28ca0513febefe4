"""What the cache holds, what of it the project still needs, and removing the rest.

Finished images (``out/``) are results, not cache: they are never touched.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from builder.data.lock import read_lock
from builder.foundation.errors import InputError, LichenError, Problem
from builder.foundation.inuse import exclusive
from builder.foundation.place import Cache
from builder.foundation.workbench import Workbench
from builder.steps.components import HISTORY
from builder.steps.profiles import load_recipe, profile_names
from builder.verbs.boot import machines_folder, running_machines
from builder.verbs.plan import make_plan

Scope = Literal["unused", "all"]
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Holding:
    """Something that the cache holds and that is removed as a whole.

    Attributes:
        kind: ``store``, ``component NAME``, or the name of another folder of the cache.
        size: bytes on disk.
        needed: a lock or plan of this project uses it.
    """

    kind: str
    path: Path
    size: int
    needed: bool

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {"kind": self.kind, "path": str(self.path), "size": self.size, "needed": self.needed}


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


def clean(workbench: Workbench, scope: Scope) -> tuple[Holding, ...]:
    """Remove what no lock or plan of this project needs, or everything; what was removed.

    Raises:
        InputError: a lock is damaged (scope ``unused`` only).
        LichenError: the cache is in use, or something cannot be removed.
    """
    with exclusive(workbench.cache):
        needs = _Needs(frozenset(), frozenset(), history=False) if scope == "all" else _needs(workbench)
        going = tuple(item for item in _holdings(workbench.cache, needs) if not item.needed)
        if going:
            _remove(workbench.cache, going)
    return going


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
    """Keys of all components that the project's plans name; None when a locked profile has no plan now."""
    keys: set[str] = set()
    for name in profile_names(workbench.project):
        try:
            profile = load_recipe(workbench.project, name).profile
            for architecture in () if profile.abstract else profile.architectures:
                if workbench.project.lock(name, architecture).is_file():
                    keys.update(item.key for item in make_plan(workbench, name, architecture).components)
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
                digest = _SHA256.search(path.name)
                yield Holding("store", path, disk_size(path), bool(digest and digest[0] in needs.files))
        elif folder == cache.components:
            # Lock files go with their component; a name with a dot is one whose building was killed.
            for path in sorted(path for path in folder.glob("*/*") if path.suffix != ".lock"):
                if path.name == HISTORY:
                    yield Holding("history", path, disk_size(path), needs.history)
                    continue
                needed = not path.name.startswith(".") and (needs.components is None or path.name in needs.components)
                yield Holding(f"component {path.parent.name}", path, disk_size(path), needed)
        else:
            for path in sorted(folder.glob("*")):
                needed = folder == machines_folder(cache) and path.name in running
                yield Holding(folder.name, path, disk_size(path), needed)


def disk_size(path: Path) -> int:
    """Bytes that ``path`` and everything below it occupy, hard links counted once."""
    seen: set[tuple[int, int]] = set()
    total = 0
    waiting = [path]
    while waiting:
        current = waiting.pop()
        try:
            status = current.lstat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            total += status.st_blocks * 512
            if current.is_dir() and not current.is_symlink():
                waiting.extend(Path(entry.path) for entry in os.scandir(current))
        except OSError:
            # Gone meanwhile, or not ours to read: the figure is for people, removing will tell.
            continue
    return total


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


def summary(holdings: Iterable[Holding]) -> tuple[tuple[str, int, int, int, int], ...]:
    """For each kind: items, bytes, items that nothing needs, and their bytes."""
    totals: dict[str, list[int]] = {}
    for item in holdings:
        total = totals.setdefault(item.kind, [0, 0, 0, 0])
        unneeded = int(not item.needed)
        for index, amount in enumerate((1, item.size, unneeded, item.size * unneeded)):
            total[index] += amount
    return tuple((kind, a, b, c, d) for kind, (a, b, c, d) in totals.items())
