"""Which cgroups have a limit of processor time, which the kernel keeps under its own scheduler only."""

from __future__ import annotations

import os
from pathlib import Path

UNLIMITED = "max"


def limited(root: Path | None) -> tuple[str, ...]:
    """Paths of cgroups below ``root`` whose cpu.max is a limit, sorted; of none when the hierarchy is not mounted.

    The kernel throttles a cgroup that has used up its limit in the fair class alone (CFS bandwidth control,
    kernel/sched/fair.c of Linux 6.12); a scheduler of BPF programs would have to do it itself, and ours does not.
    """
    if root is None:
        return ()
    found = []
    for folder, _, files in os.walk(root):
        # The root has one only where it is that of a container.
        if (path := Path(folder)) != root and "cpu.max" in files and _limits(path / "cpu.max"):
            found.append(f"/{path.relative_to(root)}")
    return tuple(sorted(found))


def _limits(path: Path) -> bool:
    """Whether a cpu.max, "QUOTA PERIOD", has a quota; a cgroup that has gone meanwhile has none."""
    try:
        return path.read_text(encoding="ascii").split()[:1] not in ([], [UNLIMITED])
    except OSError:
        return False
