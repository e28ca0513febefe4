"""Choosing everything that a lock holds: apt and uv are asked, for each part of an image by itself."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from importlib import metadata

from packaging.utils import canonicalize_name

from builder.data import toolchain
from builder.data.compatibility import rules
from builder.data.judgement import cuda_limit
from builder.data.lock import Deb, Lock, LockedModel, LockedRepository, SuiteIndex, Use, Wheel
from builder.data.profile import Architecture
from builder.data.recipe import Recipe
from builder.data.toolchain import Suite
from builder.foundation.errors import InputError, Problem
from builder.foundation.progress import step
from builder.foundation.workbench import Workbench
from builder.steps.apt import AptRoot, apt_root
from builder.steps.mirrors import archive_mirrors, unlocated, vendor_indices, wheel_index
from builder.steps.render import image_packages
from builder.steps.wheels import WheelSource, WheelTarget, resolve_wheels

# apt pattern and package that mkosi itself installs first (its Debian installer).
_FIRST = ("?essential", "base-files")
# Uses for the machine that builds, whatever the architecture of the image.
_NATIVE: tuple[Use, ...] = ("tools", "toolchain", "source", "patch", "bpf")
# Uses of packages that are unpacked and never installed, so that what they depend on is of no matter.
_ALONE: tuple[Use, ...] = ("source", "driver", "patch")


def wanted_packages(recipe: Recipe, architecture: Architecture) -> dict[Use, tuple[str, ...]]:
    """What apt is asked for, for each use; of a kernel's source and of drivers the packages alone are taken."""
    wanted: dict[Use, tuple[str, ...]] = {
        "image": (*_FIRST, *image_packages(recipe, architecture)),
        "initrd": (*_FIRST, *toolchain.initrd_packages(recipe.profile.image.layout)),
        "tools": (*_FIRST, *toolchain.tools_packages(architecture)),
    }
    if recipe.kernel:
        wanted["toolchain"] = (*_FIRST, *toolchain.toolchain_packages(architecture))
        wanted["source"] = (recipe.kernel.source,)
    if recipe.drivers:
        wanted["driver"] = recipe.drivers
        wanted["patch"] = (toolchain.PATCH_PACKAGE,)
    if recipe.bpf:
        wanted["bpf"] = (*_FIRST, *toolchain.BPF_PACKAGES)
    return wanted


def resolve_lock(
    workbench: Workbench,
    recipe: Recipe,
    architecture: Architecture,
    resolution: str,
    accept_expired: frozenset[str],
    without: frozenset[str],
) -> Lock:
    """A lock of the newest versions.

    Args:
        resolution: the digest of what chooses them.
        accept_expired, without: as for :func:`builder.verbs.lock.lock`.

    Raises:
        InputError: a repository's key has expired, nothing says where it or its wheel index is, a package does not
            exist, dependencies cannot be met, or a repository would replace a package of Debian.
        LichenError: a mirror or an index cannot be used.
        OSError: the disk is full.
    """
    for _, key in sorted(recipe.keys.items()):
        key.require_alive(workbench.clock())
    # Wheels come last: a missing index is better told now than after minutes of apt.
    repositories, wanted = recipe.profile.repositories, bool(recipe.requirements)
    if problems := unlocated(workbench.mirrors, workbench.indices, repositories, wheels=wanted):
        raise InputError(problems)
    suites = [s for s in toolchain.release_suites(recipe.profile) if s.name not in without]
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
        models=locked_models(recipe),
        repositories=locked_repositories(recipe),
    )


def locked_models(recipe: Recipe) -> tuple[LockedModel, ...]:
    """The profile's models, by name."""
    return tuple(
        LockedModel(name=name, sha256=model.sha256, size=model.size, target=model.target)
        for name, model in sorted(recipe.profile.models.items())
    )


def locked_repositories(recipe: Recipe) -> tuple[LockedRepository, ...]:
    """The profile's repositories and their keys, by name."""
    return tuple(
        LockedRepository(name=name, fingerprint=key.fingerprint, key_sha256=key.sha256)
        for name, key in sorted(recipe.keys.items())
    )


def _resolve_debs(
    workbench: Workbench,
    recipe: Recipe,
    architecture: Architecture,
    suites: Sequence[Suite],
    accept_expired: frozenset[str],
) -> tuple[list[Deb], list[SuiteIndex]]:
    vendors = toolchain.repository_suites(recipe.profile)
    archives = sorted({suite.archive for suite in (*suites, *vendors, toolchain.MKOSI_SUITE)})
    mirrors = archive_mirrors(workbench.runner, workbench.mirrors, archives, recipe.profile.repositories)
    packages = wanted_packages(recipe, architecture)
    native = toolchain.BUILD_ARCHITECTURE
    uses: dict[Architecture, list[Use]] = {
        architecture: [use for use in ("image", "initrd", "driver") if use in packages],
    }
    uses.setdefault(native, []).extend(use for use in _NATIVE if use in packages)
    debs: list[Deb] = []
    indices: list[SuiteIndex] = []

    def root_of(target: Architecture, wanted: Sequence[Suite]) -> contextlib.AbstractContextManager[AptRoot]:
        keys = {name: key for name, key in recipe.keys.items() if any(suite.archive == name for suite in wanted)}
        return apt_root(workbench.runner, workbench.cache.apt, target, wanted, mirrors, accept_expired, keys)

    for target, wanted in uses.items():
        with step(workbench.progress, f"resolving packages for {target}"), root_of(target, suites) as root:
            for use in wanted:
                if use == "image" and vendors:
                    # Initrd and tools never see a vendor's repository.
                    with root_of(target, (*suites, *vendors)) as open_root:
                        debs += _resolve_image(workbench, recipe, packages["image"], root, open_root)
                        indices += [index for index in open_root.indices if index not in indices]
                elif use in _ALONE:
                    debs += root.download(packages[use], use, asked_by(recipe))
                else:
                    debs += root.resolve(packages[use], use, asked_by(recipe) if use == "image" else {})
            indices += [index for index in root.indices if index not in indices]
    with step(workbench.progress, "resolving mkosi"), root_of(native, [toolchain.MKOSI_SUITE]) as root:
        debs += root.download([toolchain.MKOSI_PACKAGE], "mkosi", {})
        indices += root.indices
    return debs, indices


def _resolve_image(
    workbench: Workbench, recipe: Recipe, packages: Sequence[str], debian: AptRoot, everything: AptRoot
) -> list[Deb]:
    """The image's packages from Debian and from the profile's repositories, which may add names and replace none."""
    # Asked of Debian alone: a vendor's package that calls itself essential must not come unasked.
    essential = [deb.name for deb in debian.resolve(_FIRST, "image", {})]
    named = [name for name in packages if name not in _FIRST]
    debs = everything.resolve(sorted({*essential, *named}), "image", asked_by(recipe))
    names = debian.names()
    problems = [
        Problem(
            f"the repository {deb.archive!r} would replace Debian's package {deb.name!r}",
            recipe.origins.get(("repositories", deb.archive), deb.archive),
            f"it has version {deb.version}, and its index calls itself Debian",
            "use another repository: whoever signs this one could replace any package of the image",
        )
        for deb in debs
        if deb.archive in recipe.keys and deb.name in names
    ]
    if problems:
        raise InputError(problems)
    taken = {deb.name: deb.version for deb in debs if deb.archive not in recipe.keys}
    for archive in sorted(recipe.keys):
        for name, version in sorted(everything.offered(archive, taken).items()):
            workbench.progress.note(
                f"{name}: Debian's {taken[name]} is used, not {version} of the repository {archive}, "
                "which may add packages and not replace Debian's"
            )
    return debs


def _resolve_wheels(
    workbench: Workbench, recipe: Recipe, architecture: Architecture, debs: Sequence[Deb]
) -> list[Wheel]:
    """The image's wheels, and uv itself, which lays them down at build time."""
    if not recipe.requirements:
        return []
    versions = {deb.name: deb.version for deb in debs if "image" in deb.uses}
    platforms = toolchain.WHEEL_PLATFORMS
    limit = cuda_limit(rules(), debs)
    target = WheelTarget(toolchain.PYTHON_VERSIONS[recipe.profile.suite], platforms[architecture], "image", limit)
    native = WheelTarget(target.python, platforms[toolchain.BUILD_ARCHITECTURE], "tools")
    source = WheelSource(wheel_index(workbench.runner, workbench.indices), workbench.cache.uv)
    provided = _provided(recipe, versions)
    vendors = vendor_indices(workbench.indices, recipe.profile.repositories)
    with step(workbench.progress, "resolving wheels"):
        vendored = replace(source, vendors=vendors)
        wheels = resolve_wheels(workbench.runner, recipe.requirements, provided, target, vendored, _required_by(recipe))
        return wheels + resolve_wheels(workbench.runner, [f"uv=={metadata.version('uv')}"], {}, native, source)


def _provided(recipe: Recipe, versions: Mapping[str, str]) -> dict[str, str]:
    """Distribution name to the version of the Debian package that provides it."""
    places = asked_by(recipe)
    problems = [
        Problem(
            f"{package!r} is no Debian package of its own",
            places[package],
            "it is only a name that another provides, and has no version",
            f"name the package itself as what provides {distribution}",
        )
        for distribution, package in recipe.provided.items()
        if package not in versions
    ]
    if problems:
        raise InputError(problems)
    return {distribution: versions[package] for distribution, package in recipe.provided.items()}


def required_by(recipe: Recipe) -> dict[str, str]:
    """By the name of a wheel, where a person asked for it."""
    places: dict[str, str] = {}
    for line, place in _required_by(recipe).items():
        # A line that is no requirement is refused by uv, in its own words.
        name = re.match(r"[A-Za-z0-9._-]*", line)
        places[canonicalize_name(name[0] if name else "")] = place
    return places


def _required_by(recipe: Recipe) -> dict[str, str]:
    return {
        line: item.origin(("python", "requirements", index))
        for item in recipe.overlays
        for index, line in enumerate(item.overlay.python.requirements)
    }


def asked_by(recipe: Recipe) -> dict[str, str]:
    """By the name of a Debian package, where a person asked for it."""
    places: dict[str, str] = {}
    for architecture in recipe.profile.architectures:
        if kernel := recipe.profile.kernel.built_by_debian(architecture):
            places[kernel] = recipe.origins.get(("kernel", "package"), "kernel.package")
    for item in recipe.overlays:
        for index, package in enumerate(item.overlay.packages):
            places.setdefault(package, item.origin(("packages", index)))
        for index, package in enumerate(item.overlay.drivers):
            places.setdefault(package, item.origin(("drivers", index)))
        for distribution, package in item.overlay.python.provided.items():
            places.setdefault(package, item.origin(("python", "provided", distribution)))
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
