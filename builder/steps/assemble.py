"""Running mkosi on one component's tree, without network, in a mount namespace of its own.

The workspace lies on tmpfs when it fits (a small image took 33 s instead of 87 s so). The tmpfs is mounted in a
private mount namespace and the processes live in a private PID namespace tied to ours: however we end, nothing of
either is left behind.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from builder.data.handler import EMULATED, rule
from builder.data.profile import Architecture
from builder.data.variation import USUAL, Circumstances
from builder.foundation.errors import LichenError, Problem
from builder.foundation.process import ProcessError, Runner, among_themselves
from builder.foundation.progress import Progress
from builder.foundation.userns import entered, handled

# Where mkosi finds everything, on every machine: no path of ours can reach an image, and none is too long for a socket
# or has a blank that a tool stumbles over. The folder itself stays empty; what is seen there is mounted privately.
_PLACE = Path("/run/lichen")
# Mounts that, then runs mkosi. Arguments: the place, bytes of the tmpfs for the workspace or 0, number of mounts, for
# each of them ro or rw, source, target below the place; then the command. The umask is for packages' scripts. As this
# shell is the first process of its namespace, the kernel ends all others there before anybody hears that it has ended.
_ENTER = """
set -eu
trap 'exit 143' TERM
umask 022
place=$1 size=$2 mounts=$3
shift 3
mkdir -p "$place"
mount -t tmpfs -o mode=0755 lichen "$place"
while [ "$mounts" -gt 0 ]; do
    target=$place/$3
    if [ -d "$2" ]; then mkdir -p "$target"; else mkdir -p "$(dirname "$target")"; : > "$target"; fi
    mount --bind -o "$1" "$2" "$target"
    shift 3
    mounts=$((mounts - 1))
done
if [ "$size" != 0 ]; then mount -t tmpfs -o "size=$size,mode=0755" lichen "$place/workspace"; fi
# mkosi lets its scripts see the host's users, and programs write their names down: GNU tar that of user 0 into the
# header of every long name, whatever owner it was told.
echo root:x:0:0:root:/root:/bin/sh > "$place/passwd"
echo root:x:0: > "$place/group"
for file in passwd group; do mount --bind -o ro "$place/$file" "/etc/$file"; done
cd "$place/tree"
"$@" &
wait "$!"
"""
# Nothing of the person's environment can reach the image.
_ENVIRONMENT = {
    "HOME": str(_PLACE / "home"),
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONPATH": str(_PLACE / "mkosi"),
    "TMPDIR": str(_PLACE / "home"),
}
_FULL = ("No space left on device", "disk is full", "Disk full", "ENOSPC")
_SMALL_ROOT = ("in ext2 filesystem while", "Could not allocate inode")  # mke2fs, out of blocks or inodes
# mkosi's own, below the place. Its usual package cache is the machine's: whoever installs packages for the same
# architecture locks it, and all others wait. Ours stays empty, for all packages lie beside the tree.
_FOLDERS = {"output": "output", "workspace": "workspace", "package-cache": "home/packages"}
_BOOT_KEY = "secure-boot.key"
_RESERVE = 1 << 30  # bytes of memory left to everything else
# In the tools tree: shifts the clock for whatever is started with it.
_CLOCK = "usr/lib/*/faketime/libfaketimeMT.so.1"


@dataclass(frozen=True)
class Assembler:
    """How this machine runs mkosi.

    Attributes:
        mkosi: folder that holds the ``mkosi`` Python package.
        scratch: folder on disk for trees and workspaces under way.
        circumstances: what to make mkosi believe about this machine.
        emulated: an architecture whose programs this build is to run on the emulator of the tools tree.
    """

    runner: Runner
    progress: Progress
    mkosi: Path
    scratch: Path
    circumstances: Circumstances = USUAL
    emulated: Architecture | None = None

    def build(
        self,
        tree: Path,
        output: Path,
        *,
        needed: int,
        tools: Path | None,
        binds: Mapping[str, Path],
        log: Path,
        kept: Path | None = None,
        boot_key: Path | None = None,
    ) -> None:
        """Build the configuration in ``tree``; its outputs appear in ``output``.

        Args:
            needed: bytes that the workspace may take, an estimate from above.
            tools: the tools tree; None for the host's own programs (only the tools tree itself is built so).
            binds: place in ``tree/`` or ``output/`` to the finished component that appears there, read-only.
            kept: folder for compiled objects, which appears writable as ``tree/ccache``; None for none.
            boot_key: file with the private key that signs the UKI for Secure Boot, seen beside the tree; None leaves
                it unsigned.
            log: everything that mkosi and the programs under it print is appended.

        Raises:
            LichenError: mkosi failed (its last lines are in the error) or there is no room.
        """
        if os.geteuid() != 0:
            why = "mkosi mounts and changes owners of the image's files"
            raise LichenError(Problem("building needs root", "", why, "run the same command with sudo"))
        prefix = f"{tree.name}-"
        # A process that we just ended may hold a file for a moment longer; the scratch folder goes later anyway.
        with tempfile.TemporaryDirectory(dir=self.scratch, prefix=prefix, ignore_cleanup_errors=True) as name:
            size = self._tmpfs_size(tree.name, needed, Path(name))
            mounts = self._mounts(tree, output, Path(name), tools, binds)
            mounts += [("rw", kept, "tree/ccache")] if kept else []
            mounts += [("ro", boot_key, _BOOT_KEY)] if boot_key else []
            command = [sys.executable, "-m", "mkosi", "--force", f"--directory={_PLACE / 'tree'}"]
            command += [f"--{what}-directory={_PLACE / name}" for what, name in _FOLDERS.items()]
            if boot_key:
                command += ["--secure-boot=yes", "--secure-boot-key", str(_PLACE / _BOOT_KEY)]
            if tools:
                command += ["--tools-tree", str(_PLACE / "tools"), *_shifted(self.circumstances.clock, tools)]
            try:
                command = self._contained([*command, "build"], size, mounts)
                self.runner.run(command, cwd=self.scratch, env=_ENVIRONMENT, log=log)
            except ProcessError as error:
                raise _failure(error, tree.name, self.scratch.parent, log) from error

    def _contained(self, command: list[str], size: int, mounts: Sequence[tuple[str, Path, str]]) -> list[str]:
        if self.emulated:
            emulator = rule(self.emulated, f"{_PLACE}/tools{EMULATED[self.emulated].emulator}")
            command = handled(emulator, _PLACE / "handlers", command)
        words = ["sh", "-c", _ENTER, "lichen", str(_PLACE), str(size), str(len(mounts))]
        words += [str(word) for mount in mounts for word in mount]
        words = among_themselves(["--mount", "--propagation", "private"], words + command)
        # The namespaces belong to the user namespace, so that all in it may see one another.
        return entered(words) if self.emulated else words

    def _mounts(
        self, tree: Path, output: Path, disk: Path, tools: Path | None, binds: Mapping[str, Path]
    ) -> list[tuple[str, Path, str]]:
        for name in ("home", "workspace"):
            (disk / name).mkdir()
        mounts = [("rw", disk / name, name) for name in ("home", "workspace")]
        mounts += [("rw", tree, "tree"), ("rw", output, "output"), ("ro", self.mkosi, "mkosi")]
        mounts += [("ro", tools, "tools")] if tools else []
        mounts += [("ro", source, place) for place, source in binds.items()]
        # Their files are the store's own: nothing that runs in a build may write to them.
        mounts += [("ro", tree / name, f"tree/{name}") for name in ("packages", "wheels") if (tree / name).is_dir()]
        return mounts

    def _tmpfs_size(self, name: str, needed: int, scratch: Path) -> int:
        """Bytes of tmpfs for a workspace, or 0 when it must lie on disk."""
        available, asked = memory_available(), self.circumstances.workspace == "disk"
        if not asked and needed <= spare_memory():
            return needed
        free = shutil.disk_usage(scratch).free
        why = f"{name} may take {_mib(needed)}, {_mib(available)} of memory are available"
        if free < needed:
            remedy = "free disk room (`lichen clean`) or memory"
            raise LichenError(
                Problem("no room for the workspace", str(scratch), f"{why}, {_mib(free)} of disk", remedy)
            )
        self.progress.note("workspace on disk, as asked" if asked else f"workspace on disk, slower than memory: {why}")
        return 0


def spare_memory() -> int:
    """Bytes of memory that all workspaces together may take now."""
    return max(0, memory_available() - _RESERVE)


def memory_available(meminfo: Path = Path("/proc/meminfo")) -> int:
    """Bytes of memory that can be had without swapping (``MemAvailable``, proc_meminfo(5))."""
    for line in meminfo.read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def _shifted(clock: int, tools: Path) -> list[str]:
    """Options that let everything mkosi starts see the clock ``clock`` seconds ahead.

    That is apt, dpkg and packages' scripts, finalize scripts, repart with mkfs, ukify; not mkosi itself, not mcopy, to
    which repart hands an environment of its own, and not the times that the kernel gives to files. The library is
    found through the first process of the namespace, whose root every chroot of a build reaches by /proc: nothing is
    laid into a tree. Programs do without it where it is not.
    """
    found = sorted(tools.glob(_CLOCK))
    if not clock or not found:
        return []
    library = _PLACE / "tools" / found[0].relative_to(tools)
    settings = {
        "LD_PRELOAD": f"/proc/1/root{library}",
        # An emulated program would complain about a library of another architecture; it keeps the true clock.
        "QEMU_UNSET_ENV": "LD_PRELOAD",
        "FAKETIME": f"{clock:+d}",
        # Files keep their times, clamped ones above all; nobody waits longer or shorter.
        "NO_FAKE_STAT": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DISABLE_SHM": "1",
    }
    return [word for name, value in settings.items() for word in ("--environment", f"{name}={value}")]


def _failure(error: ProcessError, name: str, disk: Path, log: Path) -> LichenError:
    lines = [line for line in error.completed.stdout.splitlines() if line.strip()]
    why = "\n".join(lines[-12:])
    if any(sign in error.completed.stdout for sign in _SMALL_ROOT):
        remedy = f"raise image.root_size in the profile, then lock and build again; the whole output is in {log}"
        return LichenError(Problem("no room in the image's root file system", "image.root_size", why, remedy))
    if any(sign in error.completed.stdout for sign in _FULL):
        remedy = f"free some room: `lichen clean` shows what can go; the whole output is in {log}"
        return LichenError(Problem(f"no room left while building {name}", str(disk), why, remedy))
    return LichenError(Problem(f"mkosi failed to build {name}", str(log), why, f"the whole output is in {log}"))


def _mib(size: int) -> str:
    return f"{size >> 20} MiB"
