"""One build under way: components made from one another, and the image from them.

What is made when, also of several builds side by side, is decided in :mod:`builder.verbs.together`.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from builder.data.bpf import debian_kernel
from builder.data.history import Target
from builder.data.lock import Deb, Lock, LockedFile, LockedModel, Use, Wheel
from builder.data.plan import Component, Plan, missing
from builder.data.profile import Architecture
from builder.data.recipe import Recipe
from builder.data.toolchain import BUILD_ARCHITECTURE
from builder.data.variation import USUAL, Circumstances
from builder.foundation.atomic import disk_error
from builder.foundation.errors import InputError, InterruptError, LichenError, Problem
from builder.foundation.progress import Labelled, step
from builder.foundation.schedule import Limits, Task
from builder.foundation.store import Store
from builder.foundation.toolbox import Toolbox
from builder.foundation.workbench import Workbench
from builder.steps.assemble import Assembler
from builder.steps.components import ComponentCache
from builder.steps.export import export_repository, export_wheels
from builder.steps.finish import Papers, finish_image, require_installed
from builder.steps.kernels import judged, sign_modules
from builder.steps.render import component_tree, kernel_build, write_tree
from builder.verbs.fetch import bring
from builder.verbs.plan import boot_key, module_signer
from builder.verbs.report import refresh_report

MKOSI_PACKAGE = "usr/lib/python3/dist-packages"
# Estimates from above of what a workspace takes. A package unpacks to about four times its size, wheels to three
# (classroom-jupyterhub: 460 MB of packages, 2.0 GB of base tree).
_UNPACKED = 6
# The image's workspace holds its tree, repart's copy of that, the file system that repart fills from the copy, and the
# disk with the file system once more; holes stay holes (15 GB were too few for a tree of 3.9 GB).
_COPIES = 4
# ext4's own tables, a part of a file system's size: 256 bytes of inode for 16 KiB, bitmaps and journal; twice.
_TABLES = 8
_LEAST = 1 << 30  # bytes for the rest, UKI and ESP among it

# Components that others are made of: the name of what mkosi leaves, and where those others look for it.
_PLACES = {
    "base": ("base", "output/base"),
    "initrd": ("initrd.cpio.zst", "output/initrd.cpio.zst"),
    "python": ("python", "output/python"),
    "kernel-config": ("kernel-config", "tree/mkosi.output/kernel-config"),
    "kernel": ("kernel", "tree/mkosi.output/kernel"),
    "drivers": ("drivers", "tree/mkosi.output/drivers"),
    "modules": ("modules", "tree/kernel/mkosi.output/modules"),
    "bpf": ("bpf", "tree/bpf/mkosi.output/bpf"),
}
# Bytes that a kernel's components may take in the workspace: source unpacked, and objects with debug information.
_WORKSPACES = {"kernel-config": 3 << 30, "kernel": 14 << 30, "drivers": 4 << 30, "modules": 3 << 30}
# Components in which programs of the image's architecture run; all else is made by the building machine's own.
OF_THE_TARGET = ("base", "initrd", "python", "image")
# Components whose making keeps every processor busy.
_PARALLEL = ("kernel", "drivers", "modules")
# For parts that were never made here: bytes of a workspace that are filled in a second, and how many times longer
# programs of another architecture take: a guess between base trees (2 times) and initrds (8 times) of riscv-edge and
# of amd64's profiles.
_PACE = 40 << 20
_EMULATED = 5

# Trees in which a component is made that needs one of them, instead of the tools tree.
_COMPILERS = frozenset({"toolchain", "bpf-toolchain"})

# Which of the locked packages a component is made from.
_USES: dict[str, tuple[Use, ...]] = {
    "mkosi": ("mkosi",),
    "tools": ("tools",),
    "toolchain": ("toolchain",),
    "bpf-toolchain": ("bpf",),
    "base": ("image",),
    "initrd": ("initrd",),
    "kernel-config": ("source",),
    "kernel": ("source",),
    "drivers": ("driver", "patch"),
}
# Components whose own scripts unpack these packages; nothing is installed.
_FROM_SOURCE = ("kernel-config", "kernel", "drivers", "bpf")


@dataclass
class Assembly:
    """One build under way.

    Attributes:
        label: whose build it is, told with every step and error; empty when it is the only one.
        stopped: set when it is no longer wanted; the same for all builds of one run.
        failed: something failed here, before anything told it to stop.
    """

    workbench: Workbench
    recipe: Recipe
    lock: Lock
    plan: Plan
    scratch: Path
    log: Path
    circumstances: Circumstances = USUAL
    emulated: Architecture | None = None
    label: str = ""
    stopped: threading.Event = field(default_factory=threading.Event)
    seconds: dict[str, float] = field(default_factory=dict)  # written by several threads, a part of its own each
    failed: bool = False

    def __post_init__(self) -> None:
        if self.label:
            self.workbench = replace(self.workbench, progress=Labelled(self.label, self.workbench.progress))
        self.kept = ComponentCache(self.workbench.cache.components)
        self.store = Store(self.workbench.cache.store)
        self.target = Target(profile=self.recipe.name, architecture=self.lock.architecture)

    @property
    def folder(self) -> Path:
        """Where the image will be."""
        return self.workbench.project.image(self.lock.profile, self.lock.architecture, self.lock.digest)

    @property
    def box(self) -> Toolbox:
        """The tools tree; it is there when the components ``mkosi`` and ``tools`` are."""
        return Toolbox(self.path("tools") / "tools", self.path("mkosi") / MKOSI_PACKAGE)

    def path(self, part: str) -> Path:
        """Where a component is, or will be."""
        return self.kept.path(self._component(part))

    def missing(self, goal: str) -> list[str]:
        """What must be made for ``goal``, itself included, in build order: what is kept needs nothing any more."""
        return missing(self.plan.components, goal, self.kept.has)

    def needs(self, part: str) -> tuple[str, ...]:
        """The parts that a part is made from."""
        return self._component(part).needs

    def title(self, part: str) -> str:
        """A name for a part that no other has, but the same component of another build."""
        return f"{self.lock.profile}.{self.lock.architecture}: image" if part == "image" else self._component(part).key

    def task(self, part: str, needs: tuple[str, ...], limits: Limits) -> Task:
        """The task that makes a part when the tasks ``needs`` are done.

        It raises what :meth:`image` and mkosi raise, with the label in front.
        """

        def run() -> None:
            with self.answering():
                if part == "image":
                    self.image()
                else:
                    self._provide(part)

        def memory() -> int:
            needed = self._needed(part)
            # A workspace that does not fit alone lies on disk; unpacking mkosi takes none.
            on_disk = self.circumstances.workspace == "disk" or needed > limits.memory
            return 0 if on_disk or part == "mkosi" else needed

        processors = limits.processors if part in _PARALLEL else 1
        return Task(run, needs, processors, memory, self._expected(part))

    def use(self, part: str) -> None:
        """Note that this build uses a kept component."""
        self.kept.use(self._component(part), self.target)

    def judge_kept(self) -> None:
        """The gate for a kept configuration of a kernel: fragments may require now what they only preferred then.

        Raises:
            InputError: as :func:`builder.steps.kernels.judged`, with the label in front.
        """
        build = kernel_build(self.recipe, self.lock)
        if build and self.kept.has(self._component("kernel-config")):
            with self.answering():
                judged(build, self.path("kernel-config") / "kernel-config")

    def use_kept(self) -> None:
        """Note that this build uses everything of its plan that is kept."""
        for component in self.plan.components:
            if self.kept.has(component):
                self.use(component.name)

    def fetch(self, parts: Sequence[str]) -> None:
        """Bring the files that these parts are made from into the store.

        Raises:
            LichenError: a file cannot be had, or the disk is full; with the label in front.
        """
        files = [file for part in parts for file in self._files(part)]
        if "image" in parts:
            files += self.lock.initrd_only  # for the papers, even when the initrd is kept
        wanted = [file for file in files if not self.store.has(file.sha256, file.size)]
        if not wanted:
            return
        begin = time.monotonic()
        with self.answering():
            bring(self.workbench, self.recipe, self.lock, wanted)
        self.seconds["download"] = round(time.monotonic() - begin, 1)

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """What fails in the block is this build's failure: the error says so, and its log is worth keeping."""
        try:
            yield
        except LichenError as error:
            # One that was told to stop fails only because of another.
            self.failed = self.failed or not self.stopped.is_set()
            if not self.label:
                raise
            kind = InputError if isinstance(error, InputError) else LichenError
            problems = [replace(problem, what=f"{self.label}: {problem.what}") for problem in error.problems]
            raise kind(problems) from error

    def image(self) -> None:
        """The image folder, complete or absent, and its report.

        Raises:
            LichenError: mkosi failed, what is inside is not what was locked, or the disk is full.
            InterruptError: it is no longer wanted.
        """
        try:
            self._image()
        except OSError as error:
            raise disk_error(error, self.folder) from error
        refresh_report(self.workbench, self.folder)

    def _image(self) -> None:
        # The libraries behind it take a moment, which booting and builds that find nothing to do are spared.
        from builder.verbs.papers import Writer

        box = self.box
        trees = {name: self.path(name) / name for name in ("base", "python", "modules") if self._in_plan(name)}
        writer = Writer(
            self.workbench.runner, self.store, self.recipe, self.lock, self.plan, trees, self.workbench.progress
        )
        output = self.scratch / "image-output"
        output.mkdir()
        begin = time.monotonic()
        with step(self.workbench.progress, "image"):
            self._mkosi("image", output, box.mkosi, box.tree)
        self.seconds["image"] = round(time.monotonic() - begin, 1)
        begin = time.monotonic()
        with step(self.workbench.progress, "manifest and checksums"):
            key = self._component("image").key
            papers = Papers(
                lambda made: writer.describe(output, made, self.scratch), writer.attest, writer.built, self._proceed
            )
            finish_image(self.recipe, self.lock, key, box.tree, output, papers, self.log, self.folder)
        self.seconds["finish"] = round(time.monotonic() - begin, 1)
        took = round(self.seconds["image"] + self.seconds["finish"], 1)
        self.kept.remember(self._component("image"), self.target, took)

    def _proceed(self) -> None:
        if self.stopped.is_set():
            raise InterruptError(Problem("stopped before it was complete", str(self.folder)))

    def _part(self, name: str, folder: Path) -> None:
        if name == "mkosi":
            self._unpack_mkosi(folder)
            return
        tools: Path | None = self.box.tree
        if name == "tools":
            tools = None
        elif compilers := _COMPILERS.intersection(self.needs(name)):
            (tree,) = compilers
            tools = self.path(tree) / tree
        self._mkosi(name, folder, self.box.mkosi, tools)
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
        files = self._installed(name)
        debs = [file for file in files if isinstance(file, Deb)]
        export_repository(self.store, debs, tree / "packages", suite, self.workbench.runner)
        wheels = [file for file in files if isinstance(file, Wheel)]
        if wheels:
            export_wheels(self.store, wheels, tree / "wheels")
        if name == "modules" and (signer := module_signer(self.workbench, self.recipe)):
            for part in ("kernel", "drivers"):
                if part in self.needs(name):
                    sign_modules(self.path(part) / part / "image", signer, tree / "signatures")
        parts = [part for part in self.needs(name) if part in _PLACES]
        needed = self._needed(name)
        bench = self.workbench
        emulated = self.emulated if name in OF_THE_TARGET else None
        assembler = Assembler(bench.runner, bench.progress, mkosi, self.scratch, self.circumstances, emulated)
        binds = {place: self.path(part) / made for part, (made, place) in _PLACES.items() if part in parts}
        kept = None
        # A build on another host is cold, and what it would keep goes with it.
        if name == "kernel" and self.circumstances == USUAL:
            kept = bench.cache.compiled
            kept.mkdir(parents=True, exist_ok=True)
        key = boot_key(bench, self.recipe) if name == "image" else None
        assembler.build(tree, output, needed=needed, tools=tools, binds=binds, log=self.log, kept=kept, boot_key=key)

    def _needed(self, name: str) -> int:
        """Bytes that a component's workspace may take, an estimate from above."""
        needed = self._unpacked(name)
        if name == "image":
            parts = [part for part in self.needs(name) if part in _PLACES]
            needed += _COPIES * sum(self.kept.size(self._component(part)) for part in parts)
            needed += self.recipe.profile.image.fixed_size // _TABLES
        return needed

    def _unpacked(self, name: str) -> int:
        """What of that is known from the lock alone."""
        installed = sum(file.size * _takes(file) for file in self._installed(name))
        return _LEAST + installed + _WORKSPACES.get(name, 0)

    def _expected(self, name: str) -> float:
        """Seconds that making a part may take; without an earlier run a guess, which is good for an order."""
        if estimate := self._component(name).estimate:
            return estimate.seconds
        foreign = name in OF_THE_TARGET and self.lock.architecture != BUILD_ARCHITECTURE
        return self._unpacked(name) / _PACE * (_EMULATED if foreign else 1)

    def _unpack_mkosi(self, folder: Path) -> None:
        (deb,) = self.lock.used_by("mkosi")
        self.workbench.runner.run(["dpkg-deb", "-x", self.store.verified(deb.sha256, deb.size), folder])

    def _files(self, name: str) -> Sequence[LockedFile]:
        if name in _USES:
            return [deb for deb in self.lock.debs if not set(_USES[name]).isdisjoint(deb.uses)]
        if name == "image":
            return self.lock.models
        if name == "bpf":
            kernel = debian_kernel(self.recipe, self.lock)
            return [kernel] if kernel else []
        return self.lock.wheels if name == "python" else ()

    def _installed(self, name: str) -> Sequence[LockedFile]:
        return () if name in _FROM_SOURCE else self._files(name)

    def _component(self, name: str) -> Component:
        return self.plan.component(name)

    def _in_plan(self, name: str) -> bool:
        return any(item.name == name for item in self.plan.components)

    def _provide(self, name: str) -> None:
        component = self._component(name)
        if self.kept.has(component):
            return
        begin = time.monotonic()

        def waiting() -> None:
            self.workbench.progress.note(f"waiting for another process that builds {name}")

        with step(self.workbench.progress, name):
            make = functools.partial(self._part, name)
            self.kept.provide(component, self.target, make, waiting=waiting, stop=self.stopped)
        self.seconds[name] = round(time.monotonic() - begin, 1)


def _takes(file: LockedFile) -> int:
    """How many times its own size a file takes in the workspace, beside what the image's disk takes."""
    return _COPIES if isinstance(file, LockedModel) else _UNPACKED
