"""Raw results outlive whoever writes them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sched_bench import journal
from sched_bench.order import Plan

PLAN = Plan(7, 2, 1.0, 8.0, ("hackbench", "notebook"), ("eevdf", "lichen-ewma"))


def unit(block: int, workload: str) -> list[dict[str, Any]]:
    runs = [
        {"kind": "run", "block": block, "workload": workload, "configuration": name, "values": {}}
        for name in PLAN.configurations
    ]
    return [*runs, {"kind": "unit", "block": block, "workload": workload}]


def test_half_a_line_is_forgotten_and_written_over(tmp_path: Path) -> None:
    path = tmp_path / "raw.jsonl"
    journal.resume(path, PLAN)
    journal.append(path, unit(0, "hackbench"))
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"kind": "run", "blo')
    assert len(journal.read(path)) == 4
    journal.append(path, unit(0, "notebook"))
    assert path.read_bytes().startswith(whole)
    assert journal.finished(journal.read(path)) == {(0, "hackbench"), (0, "notebook")}


def test_unit_that_broke_off_is_done_again(tmp_path: Path) -> None:
    path = tmp_path / "raw.jsonl"
    journal.resume(path, PLAN)
    broken = unit(0, "hackbench")[:1]
    journal.append(path, broken)
    records = journal.resume(path, PLAN)
    assert journal.finished(records) == set()
    assert journal.runs(records) == []
    again = unit(0, "hackbench")
    again[0]["values"] = {"throughput": 1.0}
    journal.append(path, again)
    runs = journal.runs(journal.read(path))
    assert len(runs) == 2
    assert runs[0]["values"] == {"throughput": 1.0}


def test_another_plan_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "raw.jsonl"
    journal.resume(path, PLAN)
    journal.resume(path, replace(PLAN, rounds=9))
    with pytest.raises(journal.JournalError, match="another plan"):
        journal.resume(path, replace(PLAN, seed=8))


def test_damage_in_the_middle_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "raw.jsonl"
    path.write_bytes(b'{"kind": "plan"}\n\xff{\n{"kind": "unit"}\n')
    with pytest.raises(journal.JournalError, match=r"raw\.jsonl, line 2"):
        journal.read(path)


def test_file_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "raw.jsonl"
    path.write_text("[1, 2]\n")
    with pytest.raises(journal.JournalError, match="not an object"):
        journal.read(path)
