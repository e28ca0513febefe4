"""Gives the kernel's threads that take a scheduler of sched_ext away a real-time priority, above real-time tasks."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Linux 6.12's deadline server keeps a twentieth of each processor for ordinary tasks, but not for those of sched_ext:
# where real-time tasks take all processors nothing else runs, and the kernel's watchdog ends the scheduler (scx_tick()
# of kernel/sched/ext.c). What that needs must run: the worker that does it, and a grace period of RCU
# (percpu_down_write() in scx_ops_disable_workfn()). Both are ordinary threads, or of a priority that tasks may have.
# Names begin so: the workers of sched_ext; RCU's threads for grace periods and, where there are any, for callbacks and
# for readers that wait; of real-time kernels what wakes the worker.
NEEDED = ("sched_ext_", "scx_", "rcu_preempt", "rcu_sched", "rcuog/", "rcuop/", "rcuos/", "rcub/", "rcuc/", "irq_work/")
# Above all that users may have: the overlay realtime gives them 98 at most.
PRIORITY = 99
_KTHREADD = "2"


def needed(proc: Path = Path("/proc")) -> dict[int, str]:
    """Number and name of each such thread that there is."""
    found: dict[int, str] = {}
    for path in proc.glob("[0-9]*/stat"):
        try:
            head, _, tail = path.read_text(encoding="utf-8", errors="replace").rpartition(")")
        except OSError:  # it has ended
            continue
        name = head.partition("(")[2]
        # Any process may call itself so, but only the kernel's have this parent.
        if name.startswith(NEEDED) and tail.split()[1] == _KTHREADD:
            found[int(path.parent.name)] = name
    return found


def main() -> None:
    """Run as root when a scheduler has come into force."""
    refused: list[str] = []
    for pid, name in needed().items():
        try:
            os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(PRIORITY))
        except OSError as error:
            refused.append(f"{name} ({pid}): {error.strerror}")
    if refused:
        sys.exit(
            f"lichen-sched: no real-time priority for {', '.join(refused)}. Real-time tasks that take all processors "
            "can starve everything else while a scheduler of sched_ext is in force; `lichen-sched off` ends it"
        )


if __name__ == "__main__":
    main()
