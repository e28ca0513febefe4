"""``lichen build``: from the lock to a finished image, without network once the store is filled."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from builder.data.lock import Deb, Lock, LockedFile, LockedModel, Use, Wheel, iso_date
from builder.data.manifest import Manifest, read_manifest
from builder.data.model import size_in_bytes
from builder.data.plan import Component, Plan
from builder.data.profile import Architecture
from builder.data.recipe import Recipe
from builder.data.variation import USUAL, Circumstances
from builder.foundation.atomic import disk_error
from builder.foundation.errors import InputError, LichenError, Problem
from builder.foundation.inuse import shared
from builder.foundation.making import alone, sweep
from builder.foundation.progress import step
from builder.foundation.scratch import scratch_folder
from builder.foundation.store import Store
from builder.foundation.toolbox import Toolbox
from builder.foundation.workbench import Workbench
from builder.steps.assemble import Assembler
from builder.steps.components import ComponentCache
from builder.steps.emulation import require_emulation
from builder.steps.export import export_repository, export_wheels
from builder.steps.finish import Papers, finish_image, require_installed
from builder.steps.profiles import load_buildable
from builder.steps.render import component_tree, write_tree
from builder.verbs.fetch import bring
from builder.verbs.lock import current_lock
from builder.verbs.plan import plan_image
from builder.verbs.report import refresh_report

MKOSI_PACKAGE = "usr/lib/python3/dist-packages"
# Estimates from above of what a workspace takes. A package unpacks to about four times its size, wheels to three
# (classroom-jupyterhub: 460 MB of packages, 2.0 GB of base tree).
_UNPACKED = 6
# The image's workspace holds its tree, the root file system that repart fills from it, and the disk to which repart
# copies that, holes and all.
_COPIES = 2
_LEAST = 1 << 30  # bytes for the rest, UKI and ESP among it
_POLL_SECONDS = 0.2

# Components that the image is made of, and the names of their files in mkosi's output folder.
_PARTS = {"base": "base", "initrd": "initrd.cpio.zst", "python": "python"}


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
) -> Iterator[_Build]:
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
                    yield _Build(workbench, recipe, lock, plan, scratch, log, circumstances, emulated)
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


@dataclass
class _Build:
    """One build under way."""

    workbench: Workbench
    recipe: Recipe
    lock: Lock
    plan: Plan
    scratch: Path
    log: Path
    circumstances: Circumstances = USUAL
    emulated: Architecture | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    stopped: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.kept = ComponentCache(self.workbench.cache.components)
        self.store = Store(self.workbench.cache.store)

    def toolbox(self) -> Toolbox:
        """The tools tree, built if need be; fetches only what that takes."""
        missing = [name for name in ("mkosi", "tools") if not self._has(name)]
        self._fetch([file for name in missing for file in self._files(name)])
        mkosi = self._provide("mkosi", self._unpack_mkosi)
        tools = self._provide("tools", lambda folder: self._assemble("tools", folder, mkosi / MKOSI_PACKAGE, None))
        return Toolbox(tools / "tools", mkosi / MKOSI_PACKAGE)

    def components(self) -> None:
        """Everything that the image is put together from, independent parts beside one another."""
        names = [item.name for item in self.plan.components if item.name not in ("mkosi", "tools", "image")]
        missing = [name for name in ("mkosi", "tools", *names) if not self._has(name)]
        self._fetch([file for name in (*missing, "image") for file in self._files(name)])
        box = self.toolbox()

        def task(name: str) -> Callable[[], Path]:
            return lambda: self._provide(name, lambda folder: self._part(name, folder, box))

        _together([task(name) for name in names], self._stop, self.circumstances.jobs)

    def _stop(self) -> None:
        self.stopped.set()
        self.workbench.runner.end_all()

    def image(self, folder: Path) -> Manifest:
        """The image folder, complete or absent."""
        # The libraries behind it take a moment, which booting and builds that find nothing to do are spared.
        from builder.verbs.papers import Writer

        box = self.toolbox()
        parts = {name: inside for name, inside in _PARTS.items() if self._in_plan(name)}
        trees = {name: self._path(name) / name for name in parts if name != "initrd"}
        writer = Writer(
            self.workbench.runner, self.store, self.recipe, self.lock, self.plan, trees, self.workbench.progress
        )
        self._fetch(writer.unkept)
        output = self.scratch / "image-output"
        output.mkdir()
        begin = time.monotonic()
        with step(self.workbench.progress, "image"):
            self._mkosi("image", output, box.mkosi, box.tree, parts)
        self.seconds["image"] = round(time.monotonic() - begin, 1)
        begin = time.monotonic()
        with step(self.workbench.progress, "manifest and checksums"):
            key = self._component("image").key
            papers = Papers(lambda made: writer.describe(output, made, self.scratch), writer.attest)
            manifest = finish_image(self.recipe, self.lock, key, box.tree, output, papers, self.log, folder)
        with contextlib.suppress(LichenError):  # the image is there; only later plans would tell less
            self.kept.remember(self._component("image"), self.recipe.name)
        self.seconds["finish"] = round(time.monotonic() - begin, 1)
        return manifest

    def _part(self, name: str, folder: Path, box: Toolbox) -> None:
        self._assemble(name, folder, box.mkosi, box.tree)
        if name == "base":
            require_installed(folder / "base", self.lock)

    def _assemble(self, name: str, folder: Path, mkosi: Path, tools: Path | None) -> None:
        self._mkosi(name, folder, mkosi, tools, {})

    def _mkosi(self, name: str, output: Path, mkosi: Path, tools: Path | None, parts: dict[str, str]) -> None:
        tree = self.scratch / name
        write_tree(component_tree(name, self.recipe, self.lock), tree, self.store)
        suite = self.recipe.profile.suite
        # mkosi reads the repository's indices even for a component that installs nothing.
        debs = [file for file in self._files(name) if isinstance(file, Deb)]
        export_repository(self.store, debs, tree / "packages", suite, self.workbench.runner)
        wheels = [file for file in self._files(name) if isinstance(file, Wheel)]
        if wheels:
            export_wheels(self.store, wheels, tree / "wheels")
        needed = _LEAST + sum(file.size * _takes(file) for file in self._files(name))
        if parts:
            needed += _COPIES * sum(self.kept.size(self._component(part)) for part in parts)
            needed += size_in_bytes(self.recipe.profile.image.root_size)
        bench = self.workbench
        emulated = self.emulated if tools else None
        assembler = Assembler(bench.runner, bench.progress, mkosi, self.scratch, self.circumstances, emulated)
        binds = {inside: self._path(part) / inside for part, inside in parts.items()}
        assembler.build(tree, output, needed=needed, tools=tools, binds=binds, log=self.log)

    def _unpack_mkosi(self, folder: Path) -> None:
        (deb,) = self.lock.used_by("mkosi")
        self.workbench.runner.run(["dpkg-deb", "-x", self.store.verified(deb.sha256, deb.size), folder])

    def _files(self, name: str) -> Sequence[LockedFile]:
        uses: dict[str, Use] = {"mkosi": "mkosi", "tools": "tools", "base": "image", "initrd": "initrd"}
        if name in uses:
            return self.lock.used_by(uses[name])
        if name == "image":
            return self.lock.models
        return self.lock.wheels if name == "python" else ()

    def _fetch(self, files: Sequence[LockedFile]) -> None:
        wanted = [file for file in files if not self.store.has(file.sha256, file.size)]
        if not wanted:
            return
        begin = time.monotonic()
        bring(self.workbench, self.recipe, self.lock, wanted)
        self.seconds["download"] = round(time.monotonic() - begin, 1)

    def _component(self, name: str) -> Component:
        return self.plan.component(name)

    def _in_plan(self, name: str) -> bool:
        return any(item.name == name for item in self.plan.components)

    def _has(self, name: str) -> bool:
        return self.kept.has(self._component(name))

    def _path(self, name: str) -> Path:
        return self.kept.path(self._component(name))

    def _provide(self, name: str, make: Callable[[Path], None]) -> Path:
        if self._has(name):
            return self._path(name)
        begin = time.monotonic()

        def waiting() -> None:
            self.workbench.progress.note(f"waiting for another process that builds {name}")

        with step(self.workbench.progress, name):
            path = self.kept.provide(self._component(name), self.recipe.name, make, waiting=waiting, stop=self.stopped)
        self.seconds[name] = round(time.monotonic() - begin, 1)
        return path


def _takes(file: LockedFile) -> int:
    """How many times its own size a file takes in the workspace, beside what the image's disk takes."""
    return _COPIES if isinstance(file, LockedModel) else _UNPACKED


def _together(tasks: Sequence[Callable[[], object]], stop: Callable[[], None], jobs: int | None = None) -> None:
    """Run all tasks beside one another, or ``jobs`` at once; when one fails or we are interrupted, stop the others."""
    with ThreadPoolExecutor(max(1, jobs or len(tasks))) as pool:
        futures: list[Future[object]] = [pool.submit(task) for task in tasks]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            failed = [future for future in done if future.exception()]
            if failed:
                failed[0].result()
        except BaseException:
            # Again and again: a task may be between two processes at the moment when it is told to stop.
            stop()
            while wait(futures, _POLL_SECONDS).not_done:
                stop()
            raise
