"""Which of the kernel's threads get a real-time priority: the kernel's own alone, whatever others call themselves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from lichen_sched import threads


def process(proc: Path, pid: int, name: str, parent: int) -> None:
    (proc / str(pid)).mkdir()
    (proc / str(pid) / "stat").write_text(f"{pid} ({name}) S {parent} 0 0 0 -1 2129984 0\n")


def test_kernels_threads_are_found_and_pretenders_are_not(tmp_path: Path) -> None:
    process(tmp_path, 2, "kthreadd", 0)
    process(tmp_path, 17, "rcu_preempt", 2)
    process(tmp_path, 18, "rcuc/0", 2)
    process(tmp_path, 60, "sched_ext_ops_helper", 2)
    process(tmp_path, 62, "scx_ops_enable_helper", 2)
    process(tmp_path, 61, "rcu_tasks_kthread", 2)
    process(tmp_path, 70, "rcu_preempt", 1)
    process(tmp_path, 71, "x) S 2 (rcu_preempt", 1)
    # It has ended meanwhile: its file cannot be read.
    (tmp_path / "80/stat").mkdir(parents=True)
    assert threads.needed(tmp_path) == {
        17: "rcu_preempt",
        18: "rcuc/0",
        60: "sched_ext_ops_helper",
        62: "scx_ops_enable_helper",
    }


def test_all_are_tried_and_those_refused_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[int, tuple[int, int]] = {}

    def give(pid: int, policy: int, parameter: os.sched_param) -> None:
        asked[pid] = (policy, parameter.sched_priority)
        if pid == 17:
            raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(threads, "needed", lambda: {17: "rcu_preempt", 60: "sched_ext_ops_helper"})
    monkeypatch.setattr(os, "sched_setscheduler", give)
    with pytest.raises(SystemExit, match=r"rcu_preempt \(17\): Operation not permitted\. .*`lichen-sched off`"):
        threads.main()
    assert asked == dict.fromkeys((17, 60), (os.SCHED_FIFO, threads.PRIORITY))
