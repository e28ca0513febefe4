"""The kernel's own Kconfig, for trees of a few lines that tests write, and for whole kernels."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from builder.data.lock import read_lock
from builder.data.profile import Architecture
from builder.foundation.place import Cache
from builder.foundation.process import Runner
from builder.foundation.store import Store
from builder.foundation.toolbox import Toolbox
from builder.foundation.workbench import Workbench
from builder.steps.profiles import load_buildable
from builder.verbs.build import provide_component
from builder.verbs.fetch import bring
from tests.conftest import CLASSROOM, REPOSITORY

# What kernels call the architectures.
ARCHITECTURES: dict[Architecture, str] = {"amd64": "x86", "arm64": "arm64", "riscv64": "riscv"}
# The sandbox keeps no working folder.
_WITHIN = 'cd "$1" && shift && exec "$@"'


def inside(
    toolchain: Toolbox, folder: Path, command: Sequence[str | Path], readable: Sequence[Path], **env: str
) -> list[str]:
    """``command`` within the toolchain tree, in ``folder``, which it may write to."""
    words: list[str | Path] = ["sh", "-c", _WITHIN, "sh", folder, *command]
    return toolchain.command(words, writable=[folder], readable=readable, env={"TERM": "dumb", **env})


@dataclass(frozen=True)
class KconfigTools:
    """``conf`` of a kernel's scripts/kconfig, and ``why``, linked with its objects; both in ``folder``.

    They run in the toolchain tree, which they were compiled for.
    """

    folder: Path
    toolchain: Toolbox

    def configure(self, tree: Path, asked: str) -> tuple[str, str]:
        """Takes what is asked for into the configuration of ``tree``, which has a ``Kconfig``.

        Returns:
            The final configuration, and what ``why`` answers.
        """
        (tree / ".config").write_text(asked)
        self._run(tree, "conf", "--olddefconfig", "Kconfig")
        answers = self._run(tree, "why", "Kconfig", typed=asked)
        return (tree / ".config").read_text(), answers

    def _run(self, tree: Path, program: str, *arguments: str, typed: str = "") -> str:
        command: list[str | Path] = [self.folder / program, *arguments]
        words = inside(self.toolchain, tree, command, [self.folder], srctree=str(tree))
        return Runner().run(words, stdin=typed).stdout


@dataclass(frozen=True)
class KernelToolchain:
    """The tree that compiles the classroom's kernel, and that kernel's unpacked source.

    For other architectures it tells what Kconfig files define; what depends on their compilers it cannot.
    """

    tree: Toolbox
    source: Path

    def configure(self, work: Path, asked: str, architecture: Architecture) -> tuple[str, str]:
        """Runs ``configure`` in ``work``, an empty folder.

        Returns:
            The final configuration, and what ``why`` answers.
        """
        (work / "fragments").write_text(asked)
        templates = REPOSITORY.root / "builder/templates/kernel-config"
        for name in ("configure", "why.c"):
            (work / name).write_bytes((templates / name).read_bytes())
        arch = ARCHITECTURES[architecture]
        (work / "build").mkdir()
        command: list[str | Path] = [
            "sh",
            work / "configure",
            self.source,
            work / "build",
            work / "fragments",
            work / "why.c",
        ]
        words = inside(self.tree, work, command, [self.source], ARCH=arch, CROSS_COMPILE="")
        Runner().run(words)
        return (work / "build/.config").read_text(), (work / "build/answers.jsonl").read_text()


@pytest.fixture(scope="session")
def toolchain(cache: Cache, toolbox: Toolbox) -> Toolbox:
    """The toolchain tree of the classroom's kernel, built when it is not kept yet."""
    folder = provide_component(Workbench(REPOSITORY, cache), CLASSROOM, "toolchain")
    return Toolbox(folder / "toolchain", toolbox.mkosi)


@pytest.fixture(scope="session")
def kconfig_tools(cache: Cache, toolchain: Toolbox) -> KconfigTools:
    folder = provide_component(Workbench(REPOSITORY, cache), CLASSROOM, "kernel-config") / "kernel-config/kconfig"
    return KconfigTools(folder, toolchain)


@pytest.fixture(scope="session")
def kernel_toolchain(cache: Cache, toolchain: Toolbox, tmp_path_factory: pytest.TempPathFactory) -> KernelToolchain:
    lock = read_lock(REPOSITORY.lock(CLASSROOM, "amd64"))
    (deb,) = lock.used_by("source")
    bring(Workbench(REPOSITORY, cache), load_buildable(REPOSITORY, CLASSROOM), lock, [deb])
    folder = tmp_path_factory.mktemp("source")
    subprocess.run(["dpkg-deb", "-x", Store(cache.store).path(deb.sha256), folder], check=True)
    (packed,) = folder.glob("usr/src/*.tar.xz")
    subprocess.run(["tar", "-xJf", packed, "-C", folder], check=True)
    packed.unlink()
    return KernelToolchain(toolchain, folder / packed.name.removesuffix(".tar.xz"))
