"""``lichen build``: from the lock to a finished image, without network once the store is filled."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from builder.data.lock import Lock, iso_date
from builder.data.manifest import Manifest, read_manifest
from builder.data.profile import Architecture
from builder.data.recipe import Recipe
from builder.data.variation import USUAL, Circumstances
from builder.foundation.atomic import disk_error
from builder.foundation.errors import InputError, LichenError, Problem
from builder.foundation.inuse import shared
from builder.foundation.making import alone, sweep
from builder.foundation.scratch import scratch_folder
from builder.foundation.toolbox import Toolbox
from builder.foundation.workbench import Workbench
from builder.steps.components import ComponentCache
from builder.steps.emulation import require_emulation
from builder.steps.profiles import load_buildable
from builder.verbs.assembly import MKOSI_PACKAGE, OF_THE_TARGET, Assembly
from builder.verbs.lock import current_lock
from builder.verbs.plan import plan_image
from builder.verbs.report import refresh_report


@dataclass(frozen=True)
class BuiltImage:
    """A finished image. ``rebuilt`` is False when it was there already; ``seconds`` holds the steps' durations."""

    folder: Path
    manifest: Manifest
    rebuilt: bool
    seconds: dict[str, float]


def build(
    workbench: Workbench, name: str, architecture: str | None = None, circumstances: Circumstances = USUAL
) -> BuiltImage:
    """Build the image of a profile, or find it built.

    Args:
        circumstances: what to believe about this machine; ``lichen verify`` varies them.

    Raises:
        InputError: the profile is wrong, or its lock is missing or stale.
        LichenError: a file cannot be had, there is no room, the clock lags behind the lock, programs of the image's
            architecture do not run here, or mkosi failed.
    """
    recipe, lock = _recipe_and_lock(workbench, name, architecture)
    folder = workbench.project.image(lock.profile, lock.architecture, lock.digest)
    if not plan_image(workbench, recipe, lock).component("image").cached:
        _require_clock(workbench, lock)
        emulated = require_emulation(workbench.runner, lock.architecture).ours
        with _under_way(workbench, recipe, lock, circumstances, emulated) as work:
            # Another process may have built it while we waited for our turn.
            if not work.plan.component("image").cached:
                work.components()
                manifest = work.image(folder)
                refresh_report(workbench, folder)
                return BuiltImage(folder, manifest, rebuilt=True, seconds=dict(work.seconds))
    return BuiltImage(folder, read_manifest(folder / "manifest.json"), rebuilt=False, seconds={})


def _require_clock(workbench: Workbench, lock: Lock) -> None:
    """Refuse a clock that lags behind the lock: time stamps are clamped to the lock's date, older ones stay.

    Raises:
        LichenError: it lags.
    """
    now, then = workbench.clock(), datetime.fromtimestamp(lock.source_date_epoch, UTC)
    if now < then:
        why = f"it says {iso_date(now)}, the lock's indices are of {iso_date(then)}; files would bear dates before it"
        where = str(workbench.project.lock(lock.profile, lock.architecture))
        raise LichenError(Problem("this machine's clock is behind the lock", where, why, "set the clock"))


def find_image(workbench: Workbench, name: str, architecture: str | None = None) -> Path:
    """The finished image folder for a profile's current lock.

    Raises:
        InputError: the profile is wrong, its lock is stale, or the image was not built yet.
    """
    recipe, lock = _recipe_and_lock(workbench, name, architecture)
    folder = workbench.project.image(lock.profile, lock.architecture, lock.digest)
    if not plan_image(workbench, recipe, lock).component("image").cached:
        remedy = f"run `lichen build {name}`"
        raise InputError(Problem("the image is not built", str(folder), "there is none for the current lock", remedy))
    return folder


def find_toolbox(workbench: Workbench, name: str, architecture: str | None = None) -> Toolbox:
    """The tools tree of a profile's lock if it is kept; builds nothing.

    Raises:
        InputError: the profile is wrong, its lock is stale, or the tools tree is not built yet.
    """
    recipe, lock = _recipe_and_lock(workbench, name, architecture)
    box = _kept_toolbox(workbench, recipe, lock)
    if box is None:
        where = str(workbench.cache.components / "tools")
        raise InputError(Problem("the tools tree is not built", where, "", f"run `lichen build {name}`"))
    return box


def provide_toolbox(workbench: Workbench, name: str, architecture: str | None = None) -> Toolbox:
    """The tools tree of a profile's lock, built when it is not kept yet.

    Raises:
        InputError, LichenError: as :func:`build`.
    """
    recipe, lock = _recipe_and_lock(workbench, name, architecture)
    box = _kept_toolbox(workbench, recipe, lock)
    if box is None:
        with _under_way(workbench, recipe, lock) as work:
            box = work.toolbox()
    return box


def provide_component(workbench: Workbench, name: str, part: str, architecture: str | None = None) -> Path:
    """The folder of one component of a profile's image, built when it is not kept yet.

    Raises:
        InputError: as :func:`build`, or the profile's image has no such component.
        LichenError: as :func:`build`.
    """
    recipe, lock = _recipe_and_lock(workbench, name, architecture)
    # A kernel for another architecture is cross-compiled: no program of that architecture runs.
    emulated = require_emulation(workbench.runner, lock.architecture).ours if part in OF_THE_TARGET else None
    with _under_way(workbench, recipe, lock, emulated=emulated) as work:
        return work.provide(part)


def _kept_toolbox(workbench: Workbench, recipe: Recipe, lock: Lock) -> Toolbox | None:
    kept = ComponentCache(workbench.cache.components)
    mkosi, tools = (plan_image(workbench, recipe, lock).component(part) for part in ("mkosi", "tools"))
    if not (mkosi.cached and tools.cached):
        return None
    return Toolbox(kept.path(tools) / "tools", kept.path(mkosi) / MKOSI_PACKAGE)


@contextlib.contextmanager
def _under_way(
    workbench: Workbench,
    recipe: Recipe,
    lock: Lock,
    circumstances: Circumstances = USUAL,
    emulated: Architecture | None = None,
) -> Iterator[Assembly]:
    """A build that has its image's folder for itself, and a log beside it that stays when the build fails."""
    folder = workbench.project.image(lock.profile, lock.architecture, lock.digest)
    log = folder.with_name(f"{folder.name}.log")
    failed = False

    def waiting() -> None:
        workbench.progress.note(f"waiting for another process that builds {folder.name}")

    try:
        with shared(workbench.cache), alone(folder, waiting=waiting):
            sweep(folder.parent)
            with scratch_folder(workbench.cache.workspace) as scratch:
                log.write_bytes(b"")
                try:
                    plan = plan_image(workbench, recipe, lock)
                    yield Assembly(workbench, recipe, lock, plan, scratch, log, circumstances, emulated)
                except LichenError:
                    failed = log.stat().st_size > 0
                    raise
                finally:
                    if not failed:
                        log.unlink()
    except OSError as error:
        raise disk_error(error, folder) from error


def _recipe_and_lock(workbench: Workbench, name: str, architecture: str | None) -> tuple[Recipe, Lock]:
    recipe = load_buildable(workbench.project, name)
    return recipe, current_lock(workbench, recipe, recipe.require_architecture(architecture))
