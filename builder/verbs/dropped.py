"""Locked files that no mirror has any more: which, and what a new lock would bring instead."""

from __future__ import annotations

from collections.abc import Sequence

from builder.data.lock import Deb, Lock, LockedFile, LockedModel, Wheel
from builder.data.recipe import Recipe
from builder.foundation.errors import LichenError, Problem
from builder.foundation.workbench import Workbench
from builder.steps.fetch import Absent, title
from builder.verbs.lock import Change, preview_upgrade


def dropped_problems(workbench: Workbench, recipe: Recipe, lock: Lock, absent: Sequence[Absent]) -> list[Problem]:
    """One problem for all packages and wheels together, one for all models.

    Asks the mirrors what ``lock --upgrade`` would choose now; writes no lock.
    """
    models = [item for item in absent if isinstance(item.file, LockedModel)]
    others = [item for item in absent if not isinstance(item.file, LockedModel)]
    problems = []
    if others:
        default = lock.architecture == recipe.require_architecture(None)
        command = f"lichen lock {recipe.name}{'' if default else f' --architecture {lock.architecture}'} --upgrade"
        remedies = ["name a mirror that has them (`--mirror ARCHIVE=URL`, `--index URL`)"]
        debians = [i for i in others if isinstance(i.file, Deb) and i.file.archive not in recipe.profile.repositories]
        if debians and not workbench.snapshot:
            remedies.append("name a service that keeps what Debian's mirrors drop (`--snapshot URL`, LICHEN_SNAPSHOT)")
        would = _would(workbench, recipe, lock, [item.file for item in others], command)
        problems.append(_problem(others, "; or ".join([*remedies, f"lock anew: {would}"])))
    if models:
        problems.append(_problem(models, "give their new place as `models.NAME.source` in the profile"))
    return problems


def _problem(absent: Sequence[Absent], remedy: str) -> Problem:
    count = len(absent)
    what = f"no mirror has {'a locked file' if count == 1 else f'{count} locked files'} any more"
    reasons = dict.fromkeys(reason for item in absent for reason in item.reasons)
    where = sorted(title(item.file) for item in absent)
    return Problem(what, "\n".join(where), "\n".join(reasons), remedy)


def _would(workbench: Workbench, recipe: Recipe, lock: Lock, files: Sequence[LockedFile], command: str) -> str:
    """What locking anew would do for each of ``files``, and how much else it would move."""
    workbench.progress.note(f"asking what `{command}` would change")
    try:
        changes = preview_upgrade(workbench, recipe, lock)
    except LichenError as error:
        problem = error.problems[0]
        return f"`{command}`, of which cannot be told now what it would change ({problem.what}: {problem.why})"
    lines = [f"`{command}` would now choose"]
    named: set[Change] = set()
    for file in sorted(files, key=title):
        mine = [change for change in changes if _is_about(change, file)]
        named.update(mine)
        lines += [f"  {_told(change)}" for change in mine] or [f"  {title(file)} again: its mirror lacks what it lists"]
    more = len(set(changes) - named)
    if more:
        lines.append(f"  and change {more} more")
    return "\n".join(lines)


def _is_about(change: Change, file: LockedFile) -> bool:
    kinds = ("wheel",) if isinstance(file, Wheel) else ("deb", "tool")
    return change.what in kinds and change.name == file.name


def _told(change: Change) -> str:
    if change.new is None:
        return f"no {change.name} any more ({change.old})"
    if change.new == change.old:
        return f"{change.name} {change.new} with other bytes"
    return f"{change.name} {change.new} instead of {change.old}"
