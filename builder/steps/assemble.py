"""Running mkosi on one component's tree, without network, in a mount namespace of its own.

The workspace lies on tmpfs when it fits (a small image took 33 s instead of 87 s so). The tmpfs is mounted in a
private mount namespace and the processes live in a private PID namespace tied to ours: however we end, nothing of
either is left behind.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from builder.foundation.errors import LichenError, Problem
from builder.foundation.process import ProcessError, Runner
from builder.foundation.progress import Progress

# Mounts the tmpfs and the inputs, then becomes mkosi. Arguments: size of the tmpfs in bytes or 0, workspace,
# number of binds, (source, target) of each, command.
_ENTER = """
set -eu
size=$1 workspace=$2 binds=$3
shift 3
mkdir -p "$workspace"
if [ "$size" != 0 ]; then mount -t tmpfs -o "size=$size,mode=0755" lichen "$workspace"; fi
while [ "$binds" -gt 0 ]; do
    if [ -d "$1" ]; then mkdir -p "$2"; else mkdir -p "$(dirname "$2")"; : > "$2"; fi
    mount --bind -o ro "$1" "$2"
    shift 2
    binds=$((binds - 1))
done
exec "$@"
"""
_FULL = ("No space left on device", "disk is full", "Disk full", "ENOSPC")
_RESERVE = 1 << 30  # bytes of memory left to everything else


@dataclass(frozen=True)
class Assembler:
    """How this machine runs mkosi.

    Attributes:
        mkosi: folder that holds the ``mkosi`` Python package.
        scratch: folder on disk for trees and workspaces under way.
    """

    runner: Runner
    progress: Progress
    mkosi: Path
    scratch: Path

    def build(
        self, tree: Path, output: Path, *, needed: int, tools: Path | None, binds: Mapping[str, Path], log: Path
    ) -> None:
        """Build the configuration in ``tree``; its outputs appear in ``output``.

        Args:
            needed: bytes that the workspace may take, an estimate from above.
            tools: the tools tree; None for the host's own programs (only the tools tree itself is built so).
            binds: name below the output folder to the finished component that appears there.
            log: everything that mkosi and the programs under it print is appended.

        Raises:
            LichenError: mkosi failed (its last lines are in the error) or there is no room.
        """
        if os.geteuid() != 0:
            why = "mkosi mounts and changes owners of the image's files"
            raise LichenError(Problem("building needs root", "", why, "run the same command with sudo"))
        with tempfile.TemporaryDirectory(dir=self.scratch, prefix=f"{tree.name}-") as name:
            workspace = Path(name) / "workspace"
            size = self._tmpfs_size(tree.name, needed, Path(name))
            command = [*_contained(size, workspace, output, binds), sys.executable, "-m", "mkosi"]
            command += ["--directory", str(tree), "--output-directory", str(output), "--force"]
            command += ["--workspace-directory", str(workspace)]
            if tools:
                command += ["--tools-tree", str(tools)]
            try:
                self.runner.run([*command, "build"], cwd=tree, env=_environment(self.mkosi, Path(name)), log=log)
            except ProcessError as error:
                raise _failure(error, tree.name, workspace, log) from error

    def _tmpfs_size(self, name: str, needed: int, scratch: Path) -> int:
        """Bytes of tmpfs for a workspace, or 0 when it must lie on disk."""
        available = memory_available()
        if needed + _RESERVE <= available:
            return needed
        free = shutil.disk_usage(scratch).free
        why = f"{name} may take {_mib(needed)}, {_mib(available)} of memory are available"
        if free < needed:
            remedy = "free disk room (`lichen clean`) or memory"
            raise LichenError(
                Problem("no room for the workspace", str(scratch), f"{why}, {_mib(free)} of disk", remedy)
            )
        self.progress.note(f"workspace on disk, slower than memory: {why}")
        return 0


def memory_available(meminfo: Path = Path("/proc/meminfo")) -> int:
    """Bytes of memory that can be had without swapping (``MemAvailable``, proc_meminfo(5))."""
    for line in meminfo.read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


@contextlib.contextmanager
def scratch_folder(root: Path) -> Iterator[Path]:
    """A folder for one run below ``root``; folders of runs that were killed are swept away first."""
    root.mkdir(parents=True, exist_ok=True)
    for folder in root.glob("run-*"):
        with contextlib.suppress(OSError), (folder / ".lock").open("ab") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
    folder = Path(tempfile.mkdtemp(dir=root, prefix="run-"))
    with (folder / ".lock").open("ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _contained(size: int, workspace: Path, output: Path, binds: Mapping[str, Path]) -> list[str]:
    words = ["setpriv", "--pdeathsig", "KILL", "--"]
    words += ["unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "--propagation", "private"]
    words += ["--", "sh", "-c", _ENTER, "lichen", str(size), str(workspace), str(len(binds))]
    for name, source in binds.items():
        words += [str(source), str(output / name)]
    return words


def _environment(mkosi: Path, home: Path) -> dict[str, str]:
    # Nothing of the person's environment can reach the image.
    return {
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(mkosi),
        "TMPDIR": str(home),
    }


def _failure(error: ProcessError, name: str, workspace: Path, log: Path) -> LichenError:
    lines = [line for line in error.completed.stdout.splitlines() if line.strip()]
    why = "\n".join(lines[-12:])
    if any(sign in error.completed.stdout for sign in _FULL):
        remedy = (
            f"free some room: `lichen clean` shows what can go; a larger image.root_size may be needed too; see {log}"
        )
        return LichenError(Problem(f"no room left while building {name}", str(workspace), why, remedy))
    return LichenError(Problem(f"mkosi failed to build {name}", str(log), why, f"the whole output is in {log}"))


def _mib(size: int) -> str:
    return f"{size >> 20} MiB"
