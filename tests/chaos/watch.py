"""Seeing what a command leaves: processes, mounts, files."""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
import time
from collections.abc import Collection, Mapping
from pathlib import Path

from builder.foundation.digest import digest_file

PATIENCE_SECONDS = 5.0  # for the kernel to take a killed family of processes down
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER, prctl(2)


def adopt_orphans(wanted: bool = True) -> None:
    """From now on, whatever outlives the process that we started becomes our child, and is found; or no longer."""
    if ctypes.CDLL(None, use_errno=True).prctl(_SUBREAPER, int(wanted), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def descendants(parent: int) -> list[int]:
    """All processes below ``parent`` that run; those that ended and wait for somebody to ask do not count."""
    children: dict[int, list[int]] = {}
    ended: set[int] = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            # The name in brackets may hold anything, spaces and brackets too.
            state, above = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            children.setdefault(int(above), []).append(int(folder.name))
            if state in "ZX":
                ended.add(int(folder.name))
    found: list[int] = []
    waiting = [parent]
    while waiting:
        below = children.get(waiting.pop(), [])
        waiting += below
        found += [pid for pid in below if pid not in ended]
    return found


def left_running(known: Collection[int], patience: float = PATIENCE_SECONDS) -> list[str]:
    """Command lines of our descendants besides the ``known`` ones that are still there after a while."""
    deadline = time.monotonic() + patience
    while left := [pid for pid in descendants(os.getpid()) if pid not in known]:
        if time.monotonic() > deadline:
            return [f"process {pid}: {command_line(pid)}" for pid in left]
        time.sleep(0.02)
    return []


def command_line(pid: int) -> str:
    """What a process was called with; empty when it is gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:200]
    return ""


def mounts() -> set[str]:
    """Where something is mounted, as we see it."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return {line.split()[4] for line in lines}


def content(root: Path) -> Mapping[str, str]:
    """Kind, permissions and bytes of everything below ``root``; a missing folder has nothing."""
    found: dict[str, str] = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        told = stat.filemode(status.st_mode)
        if stat.S_ISREG(status.st_mode):
            told += f" {digest_file(path)}"
        elif stat.S_ISLNK(status.st_mode):
            told += f" {path.readlink()}"
        found[str(path.relative_to(root))] = told
    return found


def untouched(root: Path) -> Mapping[str, str]:
    """Files as in :func:`content`, with inode, owner and time: what only one that nobody touched keeps."""
    found = {}
    for name, told in content(root).items():
        status = (root / name).lstat()
        if stat.S_ISDIR(status.st_mode):
            continue  # others come and go beside what is looked at
        found[name] = f"{told} {status.st_ino} {status.st_uid}:{status.st_gid} {status.st_size} {status.st_mtime_ns}"
    return found


def difference(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """What is not as it was, a line each."""
    names = sorted({*before, *after})
    return [
        f"{name}: {before.get(name, 'absent')} -> {after.get(name, 'absent')}"
        for name in names
        if before.get(name) != after.get(name)
    ]
