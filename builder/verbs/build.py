"""``lichen build``: from the lock to a finished image, without network once the store is filled."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
from builder.verbs.everything import every_image_here
from builder.verbs.lock import current_lock
from builder.verbs.plan import plan_image
from builder.verbs.together import make


@dataclass(frozen=True)
class BuiltImage:
    """A finished image.

    Attributes:
        rebuilt: False when it was there already.
        seconds: how long its steps took; parts that were made for another image of the same run are not among them.
    """

    folder: Path
    manifest: Manifest
    rebuilt: bool
    seconds: dict[str, float]


@dataclass(frozen=True)
class _Image:
    """An image that was asked for. ``label`` says whose it is when there are several."""

    recipe: Recipe
    lock: Lock
    folder: Path
    cached: bool
    label: str = ""


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
    image = _asked_for(workbench, name, architecture)
    return _result(image, _make_images(workbench, [image], circumstances))


def build_all(workbench: Workbench, wanted: Sequence[tuple[str, str | None]] | None = None) -> list[BuiltImage]:
    """Build the images of several profiles in one run, or find them built.

    Components that several of them have are built once, and what does not need one another goes side by side, within
    what the machine has for all of them. When one fails, nothing else is started; those that are finished stay.

    Args:
        wanted: name and architecture of each (None for the profile's first one); None for every image of the project
            but those that cannot get their first lock on this machine, which are told.

    Returns:
        One for each that was wanted, in the same order.

    Raises:
        InputError: everything that is wrong with any of the profiles and locks; nothing was built.
        LichenError: as :func:`build`; what is wrong with this machine is told before anything is built, for all.
    """
    problems: list[Problem] = []
    if wanted is None:
        wanted, problems = every_image_here(workbench)
    images = []
    for name, architecture in wanted:
        try:
            images.append(_asked_for(workbench, name, architecture))
        except InputError as error:
            problems += error.problems
    if problems:
        # Profiles share parents and overlays, and what is wrong with these.
        raise InputError(list(dict.fromkeys(problems)))
    seconds = _make_images(workbench, _labelled(images), USUAL)
    return [_result(image, seconds) for image in images]


def _asked_for(workbench: Workbench, name: str, architecture: str | None) -> _Image:
    recipe, lock = _recipe_and_lock(workbench, name, architecture)
    folder = workbench.project.image(lock.profile, lock.architecture, lock.digest)
    return _Image(recipe, lock, folder, plan_image(workbench, recipe, lock).component("image").cached)


def _labelled(images: Sequence[_Image]) -> list[_Image]:
    """Each image once, in the order in which their folders are locked: the same for everybody who builds several."""
    once = sorted({image.folder: image for image in images}.values(), key=lambda image: image.folder)
    if len(once) < 2:
        return once
    profiles = Counter(image.lock.profile for image in once)
    return [replace(image, label=_label(image.lock, alone=profiles[image.lock.profile] == 1)) for image in once]


def _label(lock: Lock, *, alone: bool) -> str:
    return lock.profile if alone else f"{lock.profile} {lock.architecture}"


def _make_images(
    workbench: Workbench, images: Sequence[_Image], circumstances: Circumstances
) -> dict[Path, dict[str, float]]:
    """Make those that are not there yet; for each that was made, the seconds that its steps took, by its folder.

    Raises:
        LichenError: this machine cannot build one of them, or building failed.
    """
    missing = [image for image in images if not image.cached]
    emulated = _require_machine(workbench, [image.lock for image in missing])
    stopped = threading.Event()
    with contextlib.ExitStack() as stack:
        works = []
        for image in missing:
            foreign = emulated[image.lock.architecture]
            work = _under_way(workbench, image.recipe, image.lock, circumstances, foreign, image.label, stopped)
            works.append(stack.enter_context(work))
        # Another process may have built some of them while we waited for our turn.
        works = [work for work in works if not work.plan.component("image").cached]
        make(works)
        return {work.folder: dict(work.seconds) for work in works}


def _result(image: _Image, seconds: Mapping[Path, dict[str, float]]) -> BuiltImage:
    manifest = read_manifest(image.folder / "manifest.json")
    return BuiltImage(image.folder, manifest, image.folder in seconds, seconds.get(image.folder, {}))


def _require_machine(workbench: Workbench, locks: Sequence[Lock]) -> dict[Architecture, Architecture | None]:
    """Check that this machine can build images for all ``locks``.

    Returns:
        For each of their architectures the one whose emulator a build registers, None when it need not.

    Raises:
        LichenError: its clock lags behind a lock, or programs of an architecture do not run here.
    """
    problems: list[Problem] = []
    emulated: dict[Architecture, Architecture | None] = {}
    for lock in locks:
        try:
            _require_clock(workbench, lock)
        except LichenError as error:
            problems += error.problems
    for architecture in sorted({lock.architecture for lock in locks}):
        try:
            emulated[architecture] = require_emulation(workbench.runner, architecture).ours
        except LichenError as error:
            problems += error.problems
    if problems:
        raise LichenError(problems)
    return emulated


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
            for part in ("mkosi", "tools"):
                make([work], part)
            box = work.box
    return box


def provide_component(
    workbench: Workbench,
    name: str,
    part: str,
    architecture: str | None = None,
    circumstances: Circumstances = USUAL,
) -> Path:
    """The folder of one component of a profile's image, built when it is not kept yet.

    Raises:
        InputError: as :func:`build`, or the profile's image has no such component.
        LichenError: as :func:`build`.
    """
    recipe, lock = _recipe_and_lock(workbench, name, architecture)
    # A kernel for another architecture is cross-compiled: no program of that architecture runs.
    emulated = require_emulation(workbench.runner, lock.architecture).ours if part in OF_THE_TARGET else None
    with _under_way(workbench, recipe, lock, circumstances, emulated) as work:
        make([work], part)
        return work.path(part)


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
    label: str = "",
    stopped: threading.Event | None = None,
) -> Iterator[Assembly]:
    """A build that has its image's folder for itself, and a log beside it that stays when the build fails."""
    folder = workbench.project.image(lock.profile, lock.architecture, lock.digest)
    log = folder.with_name(f"{folder.name}.log")

    def waiting() -> None:
        workbench.progress.note(f"waiting for another process that builds {folder.name}")

    try:
        with shared(workbench.cache), alone(folder, waiting=waiting):
            sweep(folder.parent)
            with scratch_folder(workbench.cache.workspace) as scratch:
                plan = plan_image(workbench, recipe, lock)
                stopped = stopped or threading.Event()
                work = Assembly(workbench, recipe, lock, plan, scratch, log, circumstances, emulated, label, stopped)
                log.write_bytes(b"")
                try:
                    yield work
                finally:
                    if not work.failed or not log.stat().st_size:
                        log.unlink()
    except OSError as error:
        raise disk_error(error, folder) from error


def _recipe_and_lock(workbench: Workbench, name: str, architecture: str | None) -> tuple[Recipe, Lock]:
    recipe = load_buildable(workbench.project, name)
    return recipe, current_lock(workbench, recipe, recipe.require_architecture(architecture))
