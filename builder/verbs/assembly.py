"""One build under way: components made from one another, and the image from them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from builder.data.history import Target
from builder.data.lock import Deb, Lock, LockedFile, LockedModel, Use, Wheel
from builder.data.manifest import Manifest
from builder.data.model import size_in_bytes
from builder.data.plan import Component, Plan
from builder.data.profile import Architecture
from builder.data.recipe import Recipe
from builder.data.variation import USUAL, Circumstances
from builder.foundation.progress import step
from builder.foundation.schedule import Limits, Task, run_all
from builder.foundation.store import Store
from builder.foundation.toolbox import Toolbox
from builder.foundation.workbench import Workbench
from builder.steps.assemble import Assembler, spare_memory
from builder.steps.components import ComponentCache
from builder.steps.export import export_repository, export_wheels
from builder.steps.finish import Papers, finish_image, require_installed
from builder.steps.kernels import judged, sign_modules
from builder.steps.render import component_tree, kernel_build, write_tree
from builder.verbs.fetch import bring
from builder.verbs.plan import module_signer

MKOSI_PACKAGE = "usr/lib/python3/dist-packages"
# Estimates from above of what a workspace takes. A package unpacks to about four times its size, wheels to three
# (classroom-jupyterhub: 460 MB of packages, 2.0 GB of base tree).
_UNPACKED = 6
# The image's workspace holds its tree, the root file system that repart fills from it, and the disk to which repart
# copies that, holes and all.
_COPIES = 2
_LEAST = 1 << 30  # bytes for the rest, UKI and ESP among it

# Components that others are made of: the name of what mkosi leaves, and where those others look for it.
_PLACES = {
    "base": ("base", "output/base"),
    "initrd": ("initrd.cpio.zst", "output/initrd.cpio.zst"),
    "python": ("python", "output/python"),
    "kernel-config": ("kernel-config", "tree/mkosi.output/kernel-config"),
    "kernel": ("kernel", "tree/mkosi.output/kernel"),
    "modules": ("modules", "tree/kernel/mkosi.output/modules"),
}
# Bytes that a kernel's components may take in the workspace: source unpacked, and objects with debug information.
_WORKSPACES = {"kernel-config": 3 << 30, "kernel": 14 << 30, "modules": 3 << 30}
# Components in which programs of the image's architecture run; all else is made by the building machine's own.
OF_THE_TARGET = ("base", "initrd", "python", "image")
# Components whose making keeps every processor busy.
_PARALLEL = ("kernel", "modules")

# Which of the locked packages a component is made from.
_USES: dict[str, Use] = {
    "mkosi": "mkosi",
    "tools": "tools",
    "toolchain": "toolchain",
    "base": "image",
    "initrd": "initrd",
    "kernel-config": "source",
    "kernel": "source",
}


@dataclass
class Assembly:
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
        self.target = Target(profile=self.recipe.name, architecture=self.lock.architecture)

    def toolbox(self) -> Toolbox:
        """The tools tree, built if need be; fetches only what that takes."""
        missing = [name for name in ("mkosi", "tools") if not self._has(name)]
        self._fetch([file for name in missing for file in self._files(name)])
        mkosi = self._provide("mkosi", self._unpack_mkosi)
        tools = self._provide("tools", lambda folder: self._mkosi("tools", folder, mkosi / MKOSI_PACKAGE, None))
        return Toolbox(tools / "tools", mkosi / MKOSI_PACKAGE)

    def components(self, goal: str = "image") -> None:
        """Everything that ``goal`` is made from, independent parts beside one another."""
        missing = self._missing(goal)
        self._fetch([file for name in (*missing, goal) for file in self._files(name)])
        box = self.toolbox()
        for item in self.plan.components:
            if item.name not in missing and self.kept.has(item):
                self.kept.use(item, self.target)
        limits = Limits(len(os.sched_getaffinity(0)), spare_memory(), self.circumstances.jobs)
        names = [name for name in missing if name not in ("mkosi", "tools")]
        run_all({name: self._task(name, names, box, limits) for name in names}, limits, self._stop)

    def provide(self, name: str) -> Path:
        """One component, with everything that it is made from."""
        if not self._has(name):
            self.components(name)
            box = self.toolbox()
            self._provide(name, lambda folder: self._part(name, folder, box))
        return self._path(name)

    def _missing(self, goal: str) -> list[str]:
        """What must be built before ``goal``, in build order: what is kept needs nothing any more."""
        wanted: set[str] = set()
        for component in reversed(self.plan.components):
            if component.name == goal or (component.name in wanted and not self._has(component.name)):
                wanted.update(component.needs)
        return [item.name for item in self.plan.components if item.name in wanted and not self._has(item.name)]

    def _task(self, name: str, names: Collection[str], box: Toolbox, limits: Limits) -> Task:
        """The task that provides a component, when those of ``names`` that it is made from are there."""

        def run() -> Path:
            return self._provide(name, lambda folder: self._part(name, folder, box))

        needs = tuple(need for need in self._component(name).needs if need in names)
        needed = self._needed(name)
        # A workspace that does not fit alone lies on disk.
        on_disk = self.circumstances.workspace == "disk" or needed > limits.memory
        processors = limits.processors if name in _PARALLEL else 1
        return Task(run, needs, processors, 0 if on_disk else needed)

    def _stop(self) -> None:
        self.stopped.set()
        self.workbench.runner.end_all()

    def image(self, folder: Path) -> Manifest:
        """The image folder, complete or absent."""
        # The libraries behind it take a moment, which booting and builds that find nothing to do are spared.
        from builder.verbs.papers import Writer

        box = self.toolbox()
        trees = {name: self._path(name) / name for name in ("base", "python", "modules") if self._in_plan(name)}
        writer = Writer(
            self.workbench.runner, self.store, self.recipe, self.lock, self.plan, trees, self.workbench.progress
        )
        self._fetch(writer.unkept)
        output = self.scratch / "image-output"
        output.mkdir()
        begin = time.monotonic()
        with step(self.workbench.progress, "image"):
            self._mkosi("image", output, box.mkosi, box.tree)
        self.seconds["image"] = round(time.monotonic() - begin, 1)
        begin = time.monotonic()
        with step(self.workbench.progress, "manifest and checksums"):
            key = self._component("image").key
            papers = Papers(lambda made: writer.describe(output, made, self.scratch), writer.attest, writer.built)
            manifest = finish_image(self.recipe, self.lock, key, box.tree, output, papers, self.log, folder)
        self.seconds["finish"] = round(time.monotonic() - begin, 1)
        took = round(self.seconds["image"] + self.seconds["finish"], 1)
        self.kept.remember(self._component("image"), self.target, took)
        return manifest

    def _part(self, name: str, folder: Path, box: Toolbox) -> None:
        tools = box.tree
        if "toolchain" in self._component(name).needs:
            tools = self._path("toolchain") / "toolchain"
        self._mkosi(name, folder, box.mkosi, tools)
        if name == "base":
            require_installed(folder / "base", self.lock)
        if name == "kernel-config":
            self._judge(folder / "kernel-config")

    def _judge(self, folder: Path) -> None:
        """The gate: a kernel that is not what was asked for is not built."""
        if build := kernel_build(self.recipe, self.lock):
            for note in judged(build, folder):
                self.workbench.progress.note(note)

    def _mkosi(self, name: str, output: Path, mkosi: Path, tools: Path | None) -> None:
        tree = self.scratch / name
        write_tree(component_tree(name, self.recipe, self.lock), tree, self.store)
        suite = self.recipe.profile.suite
        # mkosi reads the repository's indices even for a component that installs nothing.
        files = [file for file in self._files(name) if not _is_source(file)]
        debs = [file for file in files if isinstance(file, Deb)]
        export_repository(self.store, debs, tree / "packages", suite, self.workbench.runner)
        wheels = [file for file in files if isinstance(file, Wheel)]
        if wheels:
            export_wheels(self.store, wheels, tree / "wheels")
        if name == "modules" and (signer := module_signer(self.workbench, self.recipe)):
            sign_modules(self._path("kernel") / "kernel/image", signer, tree / "signatures")
        parts = [part for part in self._component(name).needs if part in _PLACES]
        needed = self._needed(name)
        bench = self.workbench
        emulated = self.emulated if name in OF_THE_TARGET else None
        assembler = Assembler(bench.runner, bench.progress, mkosi, self.scratch, self.circumstances, emulated)
        binds = {place: self._path(part) / made for part, (made, place) in _PLACES.items() if part in parts}
        kept = None
        if name == "kernel":
            kept = bench.cache.compiled
            kept.mkdir(parents=True, exist_ok=True)
        assembler.build(tree, output, needed=needed, tools=tools, binds=binds, log=self.log, kept=kept)

    def _needed(self, name: str) -> int:
        """Bytes that a component's workspace may take, an estimate from above."""
        locked = [file for file in self._files(name) if not _is_source(file)]
        needed = _LEAST + sum(file.size * _takes(file) for file in locked) + _WORKSPACES.get(name, 0)
        if name == "image":
            parts = [part for part in self._component(name).needs if part in _PLACES]
            needed += _COPIES * sum(self.kept.size(self._component(part)) for part in parts)
            needed += size_in_bytes(self.recipe.profile.image.root_size)
        return needed

    def _unpack_mkosi(self, folder: Path) -> None:
        (deb,) = self.lock.used_by("mkosi")
        self.workbench.runner.run(["dpkg-deb", "-x", self.store.verified(deb.sha256, deb.size), folder])

    def _files(self, name: str) -> Sequence[LockedFile]:
        if name in _USES:
            return self.lock.used_by(_USES[name])
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
            path = self.kept.provide(self._component(name), self.target, make, waiting=waiting, stop=self.stopped)
        self.seconds[name] = round(time.monotonic() - begin, 1)
        return path


def _is_source(file: LockedFile) -> bool:
    """Whether it is unpacked by a component's own script, and never installed."""
    return isinstance(file, Deb) and "source" in file.uses


def _takes(file: LockedFile) -> int:
    """How many times its own size a file takes in the workspace, beside what the image's disk takes."""
    return _COPIES if isinstance(file, LockedModel) else _UNPACKED
