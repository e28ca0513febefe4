"""``lichen lock``: the only place where versions are chosen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Literal

from builder.data import toolchain
from builder.data.lock import Deb, Lock, SuiteIndex, Use, Wheel, read_lock
from builder.data.profile import Architecture
from builder.data.recipe import Recipe
from builder.data.toolchain import Suite
from builder.foundation.atomic import disk_error, write_atomically
from builder.foundation.digest import digest_value
from builder.foundation.errors import InputError, Problem
from builder.foundation.progress import step
from builder.foundation.workbench import Workbench
from builder.steps.apt import apt_root
from builder.steps.mirrors import debian_mirrors, wheel_index
from builder.steps.profiles import load_buildable
from builder.steps.wheels import WheelSource, WheelTarget, resolve_wheels

# apt pattern and package that mkosi itself installs first (its Debian installer).
_FIRST = ("?essential", "base-files")


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
        InputError: the profile is wrong, a package does not exist, or dependencies cannot be met.
        LichenError: a mirror cannot be used, or the disk is full.
    """
    recipe, wanted = _wanted(workbench, name, architecture)
    _require_suites(recipe, accept_expired, without)
    path = workbench.project.lock(name, wanted)
    old = _old_lock(path)
    resolution = _resolution(recipe, wanted)
    same_suites = old is not None and (not without or without == set(old.without))
    if old and old.resolution == resolution and same_suites and not upgrade:
        new = old.model_copy(update={"recipe": recipe.digest()})
    else:
        try:
            new = _resolve(workbench, recipe, wanted, resolution, accept_expired, without)
        except OSError as error:
            raise disk_error(error, workbench.cache.root) from error
    changed = old is None or new.text() != old.text()
    if changed:
        write_atomically(path, new.text())
    return LockOutcome(path, new, changed, tuple(changes(old, new)))


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
    release, *optional = (suite.name for suite in toolchain.release_suites(recipe.profile.suite))
    known = {"--without": optional, "--accept-expired": [release, *optional, toolchain.MKOSI_SUITE.name]}
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


def _old_lock(path: Path) -> Lock | None:
    try:
        return read_lock(path)
    except InputError:
        # Missing or damaged: either way a new one is made from nothing.
        return None


def _resolution(recipe: Recipe, architecture: Architecture) -> str:
    return digest_value(
        {
            "architecture": architecture,
            "suites": [suite.model_dump(mode="json") for suite in toolchain.release_suites(recipe.profile.suite)],
            "mkosi": toolchain.MKOSI_SUITE.model_dump(mode="json"),
            "packages": _packages(recipe),
            "requirements": recipe.requirements,
            "provided": recipe.provided,
            "python": toolchain.PYTHON_VERSIONS[recipe.profile.suite],
            "platform": toolchain.WHEEL_PLATFORMS[architecture],
            "uv": metadata.version("uv") if recipe.requirements else "",
        }
    )


def _packages(recipe: Recipe) -> dict[Use, tuple[str, ...]]:
    return {
        "image": (*_FIRST, *sorted({*recipe.packages, *toolchain.IMAGE_PACKAGES})),
        "initrd": (*_FIRST, *toolchain.INITRD_PACKAGES),
        "tools": (*_FIRST, *toolchain.TOOLS_PACKAGES),
    }


def _resolve(
    workbench: Workbench,
    recipe: Recipe,
    architecture: Architecture,
    resolution: str,
    accept_expired: frozenset[str],
    without: frozenset[str],
) -> Lock:
    suites = [s for s in toolchain.release_suites(recipe.profile.suite) if s.name not in without]
    debs, indices = _resolve_debs(workbench, recipe, architecture, suites, accept_expired)
    wheels = _resolve_wheels(workbench, recipe, architecture, debs)
    return Lock(
        profile=recipe.name,
        architecture=architecture,
        recipe=recipe.digest(),
        resolution=resolution,
        source_date_epoch=max(int(datetime.fromisoformat(index.date).timestamp()) for index in indices),
        suites=tuple(indices),
        without=tuple(sorted(without)),
        debs=_merged(debs),
        wheels=tuple(sorted(wheels, key=lambda wheel: wheel.name)),
    )


def _resolve_debs(
    workbench: Workbench,
    recipe: Recipe,
    architecture: Architecture,
    suites: Sequence[Suite],
    accept_expired: frozenset[str],
) -> tuple[list[Deb], list[SuiteIndex]]:
    assembler = [toolchain.MKOSI_SUITE]
    archives = sorted({suite.archive for suite in (*suites, *assembler)})
    mirrors = debian_mirrors(workbench.runner, workbench.mirrors, archives)
    packages = _packages(recipe)
    asked_by = _asked_by(recipe)
    native = toolchain.BUILD_ARCHITECTURE
    uses: dict[Architecture, list[Use]] = {architecture: ["image", "initrd"]}
    uses.setdefault(native, []).append("tools")
    debs: list[Deb] = []
    indices: list[SuiteIndex] = []
    for target, wanted in uses.items():
        with (
            step(workbench.progress, f"resolving packages for {target}"),
            apt_root(workbench.runner, workbench.cache.apt, target, suites, mirrors, accept_expired) as root,
        ):
            for use in wanted:
                debs += root.resolve(packages[use], use, asked_by if use == "image" else {})
            indices += [index for index in root.indices if index not in indices]
    with (
        step(workbench.progress, "resolving mkosi"),
        apt_root(workbench.runner, workbench.cache.apt, native, assembler, mirrors, accept_expired) as root,
    ):
        debs += root.download(toolchain.MKOSI_PACKAGE, "mkosi")
        indices += root.indices
    return debs, indices


def _resolve_wheels(
    workbench: Workbench, recipe: Recipe, architecture: Architecture, debs: Iterable[Deb]
) -> list[Wheel]:
    """The image's wheels, and uv itself, which lays them down at build time."""
    if not recipe.requirements:
        return []
    versions = {deb.name: deb.version for deb in debs if "image" in deb.uses}
    platforms = toolchain.WHEEL_PLATFORMS
    target = WheelTarget(toolchain.PYTHON_VERSIONS[recipe.profile.suite], platforms[architecture], "image")
    native = WheelTarget(target.python, platforms[toolchain.BUILD_ARCHITECTURE], "tools")
    source = WheelSource(wheel_index(workbench.runner, workbench.indices), workbench.cache.uv)
    provided = _provided(recipe, versions)
    asked_by = {
        line: str(item.folder / "overlay.yaml") for item in recipe.overlays for line in item.overlay.python.requirements
    }
    with step(workbench.progress, "resolving wheels"):
        wheels = resolve_wheels(workbench.runner, recipe.requirements, provided, target, source, asked_by)
        return wheels + resolve_wheels(workbench.runner, [f"uv=={metadata.version('uv')}"], {}, native, source)


def _provided(recipe: Recipe, versions: Mapping[str, str]) -> dict[str, str]:
    """Distribution name to the version of the Debian package that provides it."""
    asked_by = _asked_by(recipe)
    problems = [
        Problem(
            f"{package!r} is no Debian package of its own",
            asked_by[package],
            "it is only a name that another provides, and has no version",
            f"name the package itself as what provides {distribution}",
        )
        for distribution, package in recipe.provided.items()
        if package not in versions
    ]
    if problems:
        raise InputError(problems)
    return {distribution: versions[package] for distribution, package in recipe.provided.items()}


def _asked_by(recipe: Recipe) -> dict[str, str]:
    places: dict[str, str] = {
        recipe.profile.kernel.package: recipe.origins.get(("kernel", "package"), "kernel.package")
    }
    for item in recipe.overlays:
        for package in (*item.overlay.packages, *item.overlay.python.provided.values()):
            places.setdefault(package, str(item.folder / "overlay.yaml"))
    for index, package in enumerate(recipe.profile.packages):
        places.setdefault(package, recipe.origins.get(("packages", index), "packages"))
    return places


def _merged(debs: Iterable[Deb]) -> tuple[Deb, ...]:
    """One entry per file, with all its uses; sorted by name, version and architecture."""
    merged: dict[str, Deb] = {}
    for deb in debs:
        known = merged.get(deb.sha256)
        uses = tuple(sorted({*deb.uses, *(known.uses if known else ())}))
        merged[deb.sha256] = deb.model_copy(update={"uses": uses})
    return tuple(sorted(merged.values(), key=lambda deb: (deb.name, deb.version, deb.architecture)))


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
        inside = {"image", "initrd"} & set(deb.uses)
        locked["deb" if inside else "tool", deb.name] = deb.version, deb.sha256
    locked.update({("wheel", wheel.name): (wheel.version, wheel.sha256) for wheel in of.wheels})
    locked.update({("model", model.name): (model.sha256[:12], model.sha256) for model in of.models})
    locked.update({("repository", item.name): (item.fingerprint, item.fingerprint) for item in of.repositories})
    return locked
