"""ci/sched without a machine: what it asks of the guest, what it does again after a crash.

The guest here prints what the suite prints; the real one needs a kernel with cgroup v2, see the overlay's guest tests.
"""

from __future__ import annotations

import base64
import json
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import guest_bench
import pytest
import scheduler as ci_sched
from sched_bench import journal
from sched_bench.configurations import CONFIGURATIONS
from sched_bench.order import Plan
from sched_bench.suite import plan_of
from sched_bench.workloads import WORKLOADS

from builder.foundation.errors import InputError

PLAN = Plan(7, 2, 1.0, 2.0, ("hackbench", "training", "notebook"), ("eevdf", "lichen-trees"))
CRASHED = "the machine ended"


class Guest:
    """Answers commands as the suite does; the machine crashes after ``units`` of them."""

    def __init__(self, units: int = 99, active: str = "") -> None:
        self.units, self.active = units, active
        self.asked: list[list[str]] = []

    def __call__(self, command: str) -> str:
        if "sched_bench.suite" not in command:
            return ""
        words = shlex.split(command.partition("sched_bench.suite ")[2])
        self.asked.append(words)
        return "".join(json.dumps(record) + "\n" for record in self.answer(words))

    def answer(self, words: list[str]) -> Iterator[dict[str, Any]]:
        if words[0] == "check":
            reasons = dict.fromkeys(CONFIGURATIONS, "") | {"lichen-trees": self.active}
            yield {"kind": "machine", "workloads": {"training": "no torch"}, "configurations": reasons}
        elif words[0] == "train":
            yield {"kind": "model", "model": base64.b64encode(b"trees").decode()}
            yield {"kind": "trained"}
        else:
            if self.units == 0:
                raise RuntimeError(CRASHED)
            self.units -= 1
            plan, block, workload = plan_of(words[2]), int(words[4]), words[6]
            (unit,) = [each for each in plan.units() if (each.block, each.workload) == (block, workload)]
            for name in unit.order:
                values = {"values": {"throughput": 1.0}}
                yield {"kind": "run", "block": block, "workload": workload, "configuration": name, **values}
            yield {"kind": "unit", "block": block, "workload": workload}


def test_everything_possible_is_measured_once(tmp_path: Path) -> None:
    raw, guest = tmp_path / "raw.jsonl", Guest()
    assert not ci_sched.complete(PLAN, raw)
    ci_sched.measure(guest, PLAN, raw)
    assert ci_sched.complete(PLAN, raw)
    assert [words[0] for words in guest.asked] == ["check", "train", *["unit"] * 4]
    runs = journal.runs(journal.read(raw))
    assert len(runs) == 8
    assert {run["workload"] for run in runs} == {"hackbench", "notebook"}
    assert all("--model" in words for words in guest.asked[2:])


def test_crash_costs_the_unit_that_was_at_work_and_nothing_else(tmp_path: Path) -> None:
    raw, guest = tmp_path / "raw.jsonl", Guest(units=2)
    with pytest.raises(RuntimeError, match=CRASHED):
        ci_sched.measure(guest, PLAN, raw)
    kept = raw.read_bytes()
    again = Guest()
    ci_sched.measure(again, PLAN, raw)
    assert [words[0] for words in again.asked] == ["unit", "unit"]
    assert raw.read_bytes().startswith(kept)
    assert len(journal.runs(journal.read(raw))) == 8


def test_more_rounds_are_added(tmp_path: Path) -> None:
    raw = tmp_path / "raw.jsonl"
    ci_sched.measure(Guest(), PLAN, raw)
    more = Plan(**{**PLAN.__dict__, "rounds": 3})
    assert not ci_sched.complete(more, raw)
    again = Guest()
    ci_sched.measure(again, more, raw)
    assert [words[4] for words in again.asked] == ["2", "2"]


def test_kernel_without_sched_ext_measures_the_rest(tmp_path: Path) -> None:
    raw, guest = tmp_path / "raw.jsonl", Guest(active="this kernel has no sched_ext")
    ci_sched.measure(guest, PLAN, raw)
    assert [words[0] for words in guest.asked] == ["check", *["unit"] * 4]
    assert {run["configuration"] for run in journal.runs(journal.read(raw))} == {"eevdf"}


@pytest.mark.parametrize("given", ["hackbench,chess", "", "eevdf"])
def test_unknown_names_are_refused(given: str) -> None:
    with pytest.raises(InputError, match="no such workload"):
        ci_sched.names(given, WORKLOADS, "workload")


def test_what_is_laid_down_is_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands, run by a real shell, in a folder of ours."""
    monkeypatch.setattr(guest_bench, "FOLDER", str(tmp_path / "laid"))
    content = bytes(range(256)) * 1000
    text = base64.b64encode(content).decode()
    for command in (guest_bench.laying_down(), *guest_bench.putting(text, "model")):
        subprocess.run(["sh", "-c", command], check=True)
    assert (tmp_path / "laid/model").read_bytes() == content
    assert not (tmp_path / "laid/model.b64").exists()
    laid = {path.name for path in (tmp_path / "laid/sched_bench/work").glob("*.py")}
    assert laid == {
        f"{name}.py"
        for name in ("__init__", "load", *("compilation", "fairness", "inference"), *("notebook", "training"))
    }
    done = subprocess.run(
        ["python3", "-m", "sched_bench.suite", "check"],
        cwd=tmp_path / "laid",
        capture_output=True,
        text=True,
        check=True,
    )
    machine = json.loads(done.stdout)
    assert set(machine["workloads"]) == set(WORKLOADS)
    assert machine["configurations"]["eevdf"] == ""
    assert "agent's Python is not there" in machine["configurations"]["lichen-trees"]
