"""The kernel's own Kconfig: for trees of a few lines that tests write, and for the kernel that images boot."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.build.bench import REPOSITORY

TOOLS = "LICHEN_KCONFIG_TOOLS"
TOOLCHAIN = "LICHEN_KERNEL_TOOLCHAIN"
SOURCE = "LICHEN_KERNEL_SOURCE"
TEMPLATES = REPOSITORY / "builder/templates/kernel-config"
# What kernels call an architecture, and what its compilers' names begin with.
ARCHITECTURES = {
    "amd64": ("x86", "x86_64-linux-gnu-"),
    "arm64": ("arm64", "aarch64-linux-gnu-"),
    "riscv64": ("riscv", "riscv64-linux-gnu-"),
}
# Within the toolchain, with the source read-only: $1 the toolchain, $2 the source, $3 where the test works, $4... what is run.
INSIDE = """\
mkdir -p "$1/src" "$1/work"
mount --bind "$2" "$1/src" && mount -o remount,bind,ro "$1/src"
mount --bind "$3" "$1/work" && mount --bind /dev "$1/dev" && mount -t proc proc "$1/proc"
root=$1 && shift 3
exec chroot "$root" "$@"
"""


def setting(name: str, meaning: str) -> Path:
    """The path in an environment variable, without which the test cannot be run."""
    if not (value := os.environ.get(name)):
        pytest.fail(f"{name} must name {meaning}")
    return Path(value)


def output(command: list[str], *, cwd: Path, env: Mapping[str, str] | None = None, typed: str = "") -> str:
    done = subprocess.run(command, check=False, cwd=cwd, env=env, input=typed, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@dataclass(frozen=True)
class KconfigTools:
    """``conf`` of a kernel's scripts/kconfig, and ``why``, linked with its objects; both in ``folder``."""

    folder: Path

    def configure(self, tree: Path, asked: str) -> tuple[str, str]:
        """Takes what is asked for into the configuration of ``tree``, which has a ``Kconfig``.

        Returns:
            The final configuration, and what ``why`` answers.
        """
        (tree / ".config").write_text(asked)
        environment = {"PATH": os.environ["PATH"], "srctree": str(tree)}
        output([str(self.folder / "conf"), "--olddefconfig", "Kconfig"], cwd=tree, env=environment)
        answers = output([str(self.folder / "why"), "Kconfig"], cwd=tree, env=environment, typed=asked)
        return (tree / ".config").read_text(), answers


@dataclass(frozen=True)
class KernelToolchain:
    """The tree that compiles kernels, and a kernel's unpacked source."""

    root: Path
    source: Path

    def configure(self, work: Path, asked: str, architecture: str) -> tuple[str, str]:
        """Runs ``configure`` in ``work``, an empty folder.

        Returns:
            The final configuration, and what ``why`` answers.
        """
        (work / "fragments").write_text(asked)
        for name in ("configure", "why.c"):
            (work / name).write_bytes((TEMPLATES / name).read_bytes())
        arch, compiler = ARCHITECTURES[architecture]
        inside = ["sh", "/work/configure", "/src", "/work/build", "/work/fragments", "/work/why.c"]
        shell = ["unshare", "--mount", "sh", "-euc", INSIDE, "sh", str(self.root), str(self.source), str(work)]
        environment = {"PATH": os.environ["PATH"], "ARCH": arch, "CROSS_COMPILE": compiler}
        (work / "build").mkdir()
        output([*shell, *inside], cwd=work, env=environment)
        return (work / "build/.config").read_text(), (work / "build/answers.jsonl").read_text()


@pytest.fixture(scope="session")
def kconfig_tools() -> KconfigTools:
    return KconfigTools(
        setting(TOOLS, "a folder with scripts/kconfig/conf of a kernel, and why.c linked as `configure` does")
    )


@pytest.fixture(scope="session")
def kernel_toolchain() -> KernelToolchain:
    return KernelToolchain(setting(TOOLCHAIN, "a root with compilers"), setting(SOURCE, "a kernel's unpacked source"))
