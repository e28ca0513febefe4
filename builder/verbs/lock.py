"""``lichen lock``: the only place where versions are chosen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Literal

from builder.data import toolchain
from builder.data.compatibility import rules
from builder.data.judgement import judge
from builder.data.lock import Lock, read_lock
from builder.data.profile import Architecture
from builder.data.recipe import Recipe
from builder.foundation.atomic import disk_error, write_atomically
from builder.foundation.digest import digest_value
from builder.foundation.errors import InputError, Problem
from builder.foundation.workbench import Workbench
from builder.steps.profiles import load_buildable
from builder.steps.render import overlay_files
from builder.verbs.resolve import (
    asked_by,
    locked_models,
    locked_repositories,
    required_by,
    resolve_lock,
    wanted_packages,
)

What = Literal["deb", "wheel", "tool", "model", "repository"]


@dataclass(frozen=True)
class Change:
    """One thing that a new lock changes against the old one.

    Attributes:
        kind: ``changed`` is the same version with other bytes: somebody replaced a file that was published already.
        old: the version; of a repository the fingerprint of its key, of a model the start of its SHA-256.
    """

    kind: Literal["added", "removed", "moved", "changed"]
    what: What
    name: str
    old: str | None
    new: str | None


@dataclass(frozen=True)
class LockOutcome:
    """What locking did. ``changed`` is False when the lock was current already and nothing was written."""

    path: Path
    lock: Lock
    changed: bool
    changelog: tuple[Change, ...]


def lock(
    workbench: Workbench,
    name: str,
    architecture: str | None = None,
    *,
    upgrade: bool = False,
    accept_expired: frozenset[str] = frozenset(),
    without: frozenset[str] = frozenset(),
) -> LockOutcome:
    """Make or refresh the lock of a profile.

    Versions move only when something that chooses them changed (packages, requirements, suites, tools) or with
    ``upgrade``; otherwise a lock that is out of date is stamped anew, without network.

    Args:
        accept_expired: suites whose index may be past its Valid-Until; recorded in the lock.
        without: suites to leave out, for mirrors that carry a broken index; recorded in the lock. A current lock that
            was made with others left out is made anew.

    Raises:
        InputError: the profile or a template is wrong, a package does not exist, dependencies cannot be met, a
            repository would replace a package of Debian, or two things of the lock do not fit together.
        LichenError: a mirror cannot be used, or the disk is full.
    """
    recipe, wanted = _wanted(workbench, name, architecture)
    _require_suites(recipe, accept_expired, without)
    overlay_files(recipe)  # a template's fault is better told now than after the resolution
    path = workbench.project.lock(name, wanted)
    old = _old_lock(path)
    resolution = _resolution(recipe, wanted)
    same_suites = old is not None and (not without or without == set(old.without))
    if old and old.resolution == resolution and same_suites and not upgrade:
        said = {"models": locked_models(recipe), "repositories": locked_repositories(recipe)}
        new = old.model_copy(update={"recipe": recipe.digest(), **said})
    else:
        new = _resolved(workbench, recipe, wanted, resolution, accept_expired, without)
    _require_fit(workbench, recipe, new)
    changed = old is None or new.text() != old.text()
    if changed:
        write_atomically(path, new.text())
    changelog = tuple(changes(old, new))
    for change in changelog:
        if change.kind == "changed":
            workbench.progress.note(
                f"the {change.what} {change.name} {change.new} has other bytes than when it was locked before: "
                "somebody replaced a published file without a new version; ask its vendor why before you use it"
            )
    return LockOutcome(path, new, changed, changelog)


def preview_upgrade(workbench: Workbench, recipe: Recipe, old: Lock) -> tuple[Change, ...]:
    """What ``lock --upgrade`` would change now, with the suites that ``old`` was made from; writes no lock.

    Raises:
        InputError, LichenError: as :func:`lock`.
    """
    expired = frozenset(index.label for index in old.suites if index.expired)
    new = _resolved(workbench, recipe, old.architecture, old.resolution, expired, frozenset(old.without))
    return tuple(changes(old, new))


def check_lock(workbench: Workbench, name: str, architecture: str | None = None) -> Lock:
    """The lock of a profile if it is current.

    Raises:
        InputError: it is missing, damaged or stale; names the command that refreshes it.
    """
    recipe, wanted = _wanted(workbench, name, architecture)
    return current_lock(workbench, recipe, wanted)


def current_lock(workbench: Workbench, recipe: Recipe, architecture: Architecture) -> Lock:
    """As :func:`check_lock`, for a recipe that is loaded already."""
    path = workbench.project.lock(recipe.name, architecture)
    default = architecture == recipe.require_architecture(None)
    command = f"lichen lock {recipe.name}" if default else f"lichen lock {recipe.name} --architecture {architecture}"
    try:
        found = read_lock(path)
    except InputError as error:
        raise InputError([replace(problem, remedy=f"run `{command}`") for problem in error.problems]) from error
    if found.resolution != _resolution(recipe, architecture):
        why = "packages, Python requirements, suites or tools changed since it was made"
        raise InputError(Problem("the lock is stale", str(path), why, f"run `{command}` and review the diff"))
    if found.recipe != recipe.digest():
        why = "the profile or a file of its overlays changed since it was made; no version moves"
        raise InputError(Problem("the lock is stale", str(path), why, f"run `{command}` (no network needed)"))
    return found


def _wanted(workbench: Workbench, name: str, architecture: str | None) -> tuple[Recipe, Architecture]:
    recipe = load_buildable(workbench.project, name)
    return recipe, recipe.require_architecture(architecture)


def _require_suites(recipe: Recipe, accept_expired: frozenset[str], without: frozenset[str]) -> None:
    release, *optional = (suite.name for suite in toolchain.release_suites(recipe.profile))
    vendors = [suite.label for suite in toolchain.repository_suites(recipe.profile)]
    known = {"--without": optional, "--accept-expired": [release, *optional, toolchain.MKOSI_SUITE.name, *vendors]}
    given = {"--without": without, "--accept-expired": accept_expired}
    why = {
        "--without": "only what is laid on top of the release can be left out",
        "--accept-expired": "no version is chosen from it",
    }
    problems = [
        Problem(
            f"{option} does not apply to the suite {name!r}",
            recipe.name,
            why[option],
            f"choose from {', '.join(names)}",
        )
        for option, names in known.items()
        for name in sorted(given[option].difference(names))
    ]
    if problems:
        raise InputError(problems)


def _resolved(
    workbench: Workbench,
    recipe: Recipe,
    architecture: Architecture,
    resolution: str,
    accept_expired: frozenset[str],
    without: frozenset[str],
) -> Lock:
    try:
        return resolve_lock(workbench, recipe, architecture, resolution, accept_expired, without)
    except OSError as error:
        raise disk_error(error, workbench.cache.root) from error


def _require_fit(workbench: Workbench, recipe: Recipe, lock: Lock) -> None:
    verdict = judge(rules(), recipe, lock, asked_by(recipe), required_by(recipe))
    for what in verdict.unknown:
        workbench.progress.note(f"the table of what fits together does not tell {what}")
    if verdict.problems:
        raise InputError(verdict.problems)


def _old_lock(path: Path) -> Lock | None:
    try:
        return read_lock(path)
    except InputError:
        # Missing or damaged: either way a new one is made from nothing.
        return None


def _resolution(recipe: Recipe, architecture: Architecture) -> str:
    repositories = {name: repository.choosing() for name, repository in recipe.profile.repositories.items()}
    return digest_value(
        {
            "architecture": architecture,
            "suites": [suite.model_dump(mode="json") for suite in toolchain.release_suites(recipe.profile)],
            "mkosi": toolchain.MKOSI_SUITE.model_dump(mode="json"),
            "packages": wanted_packages(recipe, architecture),
            "requirements": recipe.requirements,
            "provided": recipe.provided,
            "python": toolchain.PYTHON_VERSIONS[recipe.profile.suite],
            "platform": toolchain.WHEEL_PLATFORMS[architecture],
            "uv": metadata.version("uv") if recipe.requirements else "",
            # Without any, a lock of before there were repositories stays current.
            **({"repositories": repositories} if repositories else {}),
        }
    )


def changes(old: Lock | None, new: Lock) -> Iterator[Change]:
    """What moved from ``old`` to ``new``, sorted; nothing when there was no old lock."""
    if old is None:
        return
    before, after = _locked(old), _locked(new)
    for what, name in sorted({*before, *after}):
        left, right = before.get((what, name)), after.get((what, name))
        if left and right and left != right:
            kind: Literal["changed", "moved"] = "changed" if left[0] == right[0] else "moved"
            yield Change(kind, what, name, left[0], right[0])
        elif left != right:
            kept, gone = right and right[0], left and left[0]
            yield Change("removed" if left else "added", what, name, gone, kept)


def _locked(of: Lock) -> Mapping[tuple[What, str], tuple[str, str]]:
    """Version and SHA-256 of everything in a lock."""
    locked: dict[tuple[What, str], tuple[str, str]] = {}
    for deb in of.debs:
        inside = {"image", "initrd", "source", "driver"} & set(deb.uses)
        locked["deb" if inside else "tool", deb.name] = deb.version, deb.sha256
    locked.update({("wheel", wheel.name): (wheel.version, wheel.sha256) for wheel in of.wheels})
    locked.update({("model", model.name): (model.sha256[:12], model.sha256) for model in of.models})
    locked.update({("repository", item.name): (item.fingerprint, item.fingerprint) for item in of.repositories})
    return locked
