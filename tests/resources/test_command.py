"""The command lichen-resources, its log, and the comparison's arithmetic."""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from lichen_agent.control import ControlError
from lichen_agent.jsonlines import numbered
from lichen_resources import command, compare, restore
from lichen_resources.audit import AuditLog, read_log
from lichen_resources.compare import CompareError, Plan, order
from lichen_resources.comparison import comparison_text, ratio, ratios
from lichen_resources.pressure import (
    Cgroup,
    PressureOff,
    check_pressure,
    io_weight_works,
    parse_io,
    parse_pressure,
    working_set,
)
from lichen_resources.probe import summary
from lichen_resources.systemd import SystemdError, show, systemctl
from lichen_resources.units import UNLIMITED

from tests.resources.tree import Tree

Run = Callable[..., tuple[int, str, str]]
STATUS: Mapping[str, Any] = {
    "mode": "adjusting",
    "pid": 7,
    "trouble": "",
    "changes_last_minute": 2,
    "changes_per_minute": 6,
    "units": [
        {
            "unit": "batch.slice",
            "role": "batch",
            "there": True,
            "cgroup": "/batch.slice",
            "notes": ["io: no disk heeds weights\x1b"],
            "knobs": {
                "cpu": {"low": 5, "high": 100, "static": 20, "now": 13, "taken_over": False, "reason": "because"},
                "memory": {
                    "low": 1 << 30,
                    "high": 2 << 30,
                    "static": UNLIMITED,
                    "now": None,
                    "taken_over": True,
                    "reason": "",
                },
            },
            "targets": {},
            "pressure": {"cpu": {"some": 12.0, "full": 0.0}},
            "memory": {},
            "oomd": {"ManagedOOMMemoryPressure": "kill", "ManagedOOMSwap": "auto"},
        }
    ],
}


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs the command in a folder of its own: code, standard output, standard error."""
    monkeypatch.setattr(command, "LOG", tmp_path / "changes.jsonl")
    monkeypatch.setattr(command, "STATE", tmp_path / "state")
    monkeypatch.setattr(command, "SWITCH", tmp_path / "state/off")
    monkeypatch.setattr(restore, "LOG", tmp_path / "changes.jsonl")
    monkeypatch.setattr(restore, "RECORD", tmp_path / "overridden.json")

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            command.main(list(arguments))
        out, error = capsys.readouterr()
        return int(str(ended.value.code)), out, error

    return run


def answers(monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    def ask(_path: Path, _request: Mapping[str, object]) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(command, "ask", ask)
    monkeypatch.setattr(compare, "ask", ask)


def test_status_is_for_people_and_machines(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, STATUS)
    code, out, _ = run("status")
    assert code == 0
    for words in (
        "mode: adjusting",
        "2 of at most 6",
        "batch.slice (batch)",
        "no disk heeds weights\\x1b",
        "cpu: 13, static 20, bounds 5 to 100; because",
        "memory: unknown, static infinity, bounds 1024M to 2048M; SET BY SOMEBODY ELSE",
        "cpu pressure: some 12.0 %",
        "systemd-oomd: ManagedOOMMemoryPressure=kill",
    ):
        assert words in out
    assert "\x1b" not in out
    assert json.loads(run("status", "--json")[1]) == STATUS


def test_agent_that_does_not_run_has_its_own_exit_code(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, ControlError("the agent does not run"))
    for words in (["status"], ["on"], ["compare"]):
        assert run(*words) == (3, "", "lichen-resources: the agent does not run\n")


def test_off_works_without_the_agent_and_lasts(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answers(monkeypatch, ControlError("the agent does not run"))
    code, out, _ = run("off", "--json")
    assert (code, json.loads(out)) == (0, {"mode": "off", "given_back": 0})
    assert (tmp_path / "state/off").exists()
    assert run("on")[0] == 3
    assert not (tmp_path / "state/off").exists()


def test_log_is_shown_and_hostile_names_are_harmless(run: Run, tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "changes.jsonl", 1 << 20, 2)
    row = {"unit": "a.slice", "knob": "cpu", "from": "50", "to": "75", "actor": "policy", "reason": "why"}
    log.tell(row)
    log.tell(row | {"unit": "b\x1b]0;x\x07.slice", "reason": "two\nlines \u202e"})
    with (tmp_path / "changes.jsonl").open("a") as file:
        file.write('no json\n[1]\n{"time": "x\\u001b", "unit": "c.slice"}\n')
    code, out, _ = run("log")
    lines = out.splitlines()
    assert (code, len(lines)) == (0, 3)
    assert all(line.isprintable() for line in lines)
    assert lines[0].endswith("a.slice cpu 50 -> 75 by policy: why")
    assert "b\\x1b]0;x\\x07.slice" in lines[1]
    assert len(run("log", "--unit", "a.slice")[1].splitlines()) == 1
    assert json.loads(run("log", "--last", "1", "--json")[1])["unit"] == "c.slice"
    assert run("log", "--last", "0")[1] == ""


def test_log_is_bounded(tmp_path: Path) -> None:
    log = AuditLog(path := tmp_path / "changes.jsonl", 1000, 3)
    for number in range(200):
        log.tell({"unit": "a.slice", "number": number})
    assert sum(file.stat().st_size for file in numbered(path, 10) if file.exists()) <= 3000
    rows = [row["number"] for row in read_log(path)]
    assert rows == list(range(200 - len(rows), 200))
    assert path.stat().st_mode & 0o777 == 0o640


def test_half_a_line_spoils_no_other(tmp_path: Path) -> None:
    log = AuditLog(path := tmp_path / "changes.jsonl", 10000, 3)
    path.write_text('{"time": 1, "un')
    log.tell({"unit": "a.slice"})
    assert [row["unit"] for row in read_log(path)] == ["a.slice"]


# What the kernel and systemd say


def test_pressure_is_read() -> None:
    text = "some avg10=1.50 avg60=0.00 avg300=0.00 total=77\nfull avg10=0.25 avg60=0.00 avg300=0.00 total=5\n"
    pressure = parse_pressure(text)
    assert (pressure.some, pressure.full, pressure.some_total, pressure.full_total) == (1.5, 0.25, 77, 5)
    assert parse_pressure(text.splitlines()[0]).full == 0.0
    with pytest.raises(ValueError, match="no pressure"):
        parse_pressure("")


def test_pressure_that_is_off_is_told(tmp_path: Path) -> None:
    with pytest.raises(PressureOff, match="CONFIG_PSI"):
        check_pressure(tmp_path)
    (tmp_path / "pressure/cpu").mkdir(parents=True)
    with pytest.raises(PressureOff, match="psi=1"):
        check_pressure(tmp_path)


def test_values_of_a_cgroup(tmp_path: Path) -> None:
    (tree := Tree(tmp_path)).add("a.slice", cpu="70", io="80", memory="4096")
    cgroup = Cgroup(tree.root, "/a.slice")
    assert [cgroup.value(knob) for knob in ("cpu", "io", "memory")] == [70, 80, 4096]
    (tree.root / "a.slice/memory.high").write_text("max\n")
    assert cgroup.value("memory") == UNLIMITED
    (tree.root / "a.slice/cpu.weight").unlink()
    assert cgroup.value("cpu") is None
    assert cgroup.memory() == (100 << 20, 50 << 20)
    assert working_set({"kernel": 5, "slab_reclaimable": 9}) == 0
    assert parse_io("8:0 rbytes=10 wbytes=20 rios=5\n8:16 rbytes=1 wbytes=0 dbytes=100\n") == 31


def test_disks_that_heed_weights(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    assert io_weight_works(tree.root, tree.sys)
    (tree.sys / "block/vda/queue/scheduler").write_text("[none] mq-deadline\n")
    assert not io_weight_works(tree.root, tree.sys)
    (tree.root / "io.cost.qos").write_text("8:0 enable=1 ctrl=auto\n")
    assert io_weight_works(tree.root, tree.sys)


def test_systemd_is_asked_for_all_units_at_once() -> None:
    text = (
        "Id=a.slice\nLoadState=loaded\nActiveState=active\nControlGroup=/a.slice\nCPUWeight=50\nIOWeight=[not set]\n"
        "MemoryHigh=infinity\nManagedOOMSwap=kill\n\nId=b.slice\nLoadState=not-found\nActiveState=inactive\n"
        "ControlGroup=\nCPUWeight=idle\nIOWeight=[not set]\nMemoryHigh=1048576\n"
    )
    shown = show(["a.slice", "alias.slice"], lambda *_: text)
    assert shown["a.slice"].values == {"cpu": 50, "io": 100, "memory": UNLIMITED}
    assert shown["a.slice"].texts["io"] == "[not set]"
    assert shown["a.slice"].oomd == {"ManagedOOMSwap": "kill"}
    assert shown["alias.slice"].state == "there is no such unit"
    assert shown["alias.slice"].values == {"io": 100, "memory": 1 << 20}
    with pytest.raises(SystemdError, match="2 answers for 1"):
        show(["a.slice"], lambda *_: text)


def test_missing_systemctl_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemdError, match="systemctl show: "):
        systemctl("show")
    (tmp_path / "systemctl").write_text("#!/bin/sh\necho first >&2; echo why >&2; exit 4\n")
    (tmp_path / "systemctl").chmod(0o755)
    with pytest.raises(SystemdError, match="systemctl show: why"):
        systemctl("show")


# Comparison


def test_order_is_thrown_and_repeats() -> None:
    plan = Plan(50, 1, 0, None, 3)
    phases = order(plan)
    assert phases == order(plan)
    assert phases != order(Plan(50, 1, 0, None, 4))
    firsts = [phases[at][1] for at in range(0, 100, 2)]
    assert 10 < firsts.count("adjusted") < 40
    assert all({phases[at][1], phases[at + 1][1]} == {"adjusted", "static"} for at in range(0, 100, 2))


def test_ratio_has_an_interval() -> None:
    value = ratio([(1.0, 2.0), (2.0, 4.0), (3.0, 6.0)], 0.1)
    assert value == pytest.approx((0.5, 0.5, 0.5))
    # Of ln 2, 0, ln 2: mean 0.462, deviation 0.400, 4.303 * 0.400 / sqrt(3) = 0.994.
    value = ratio([(2.0, 1.0), (1.0, 1.0), (2.0, 1.0)], 0.1)
    assert value == pytest.approx(
        (math.exp(0.46210), math.exp(0.46210 - 0.99418), math.exp(0.46210 + 0.99418)), rel=1e-3
    )
    assert ratio([(0.0, 0.05), (0.0, 0.0)], 0.1) is None
    assert ratio([(1.0, 2.0)], 0.1) is None
    assert ratio([(0.0, 1.0), (0.0, 1.0)], 0.1) == pytest.approx((0.1, 0.1, 0.1))


def test_interval_covers_as_often_as_it_says() -> None:
    dice = random.Random(1)
    hits = 0
    for _ in range(1000):
        pairs = [(math.exp(dice.gauss(0.3, 0.5)), math.exp(dice.gauss(0, 0.5))) for _ in range(5)]
        value = ratio(pairs, 1e-9)
        assert value
        hits += value[1] <= math.exp(0.3) <= value[2]
    assert 0.93 < hits / 1000 < 0.97


def phase(number: int, mode: str, cpu: float, unit: str = "a\x1b.slice") -> dict[str, Any]:
    measures = {"stalled cpu some": cpu, "stalled io full": 0.0, "processor": 1.0}
    return {"round": number, "mode": mode, "units": {unit: {"role": "notebook", "measures": measures}}}


def test_table_tells_what_differs() -> None:
    phases = [phase(n, mode, cpu) for n in range(4) for mode, cpu in (("static", 0.4), ("adjusted", 0.2 + n / 1000))]
    found = ratios([*phases, phase(4, "static", 9.0)])
    assert [row["rounds"] for row in found] == [4, 4, 4]
    text = comparison_text({"ratios": found, "rounds": 4, "seconds": 60})
    lines = text.splitlines()
    assert "\x1b" not in text
    assert "0.50" in lines[2]
    assert lines[2].endswith("differs")
    assert lines[3].endswith("too little to tell")
    assert not lines[4].endswith("differs")
    assert ratios([phase(0, "static", 1.0)]) == []


def test_comparison_needs_an_agent_that_adjusts(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, {**STATUS, "mode": "off"})
    code, _, error = run("compare")
    assert code == 1
    assert "mode is 'off'" in error
    monkeypatch.setattr(compare, "mounted", lambda: None)
    answers(monkeypatch, STATUS)
    assert "none of the declared units is active" in run("compare")[2]


def test_order_of_a_comparison_is_thrown_and_can_be_repeated(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    plans: list[Plan] = []

    def compared(plan: Plan, _output: Path | None, _tell: Callable[[str], None]) -> tuple[Mapping[str, Any], Path]:
        plans.append(plan)
        return {"ratios": [], "rounds": plan.rounds, "seconds": plan.seconds}, Path("raw.json")

    monkeypatch.setattr(command, "compare", compared)
    said = [run("compare")[2] for _ in range(3)]
    seeds = [plan.seed for plan in plans]
    assert len(set(seeds)) == 3
    assert all(f"--seed {seed} repeats" in text for seed, text in zip(seeds, said, strict=True))
    run("compare", "--seed", str(seeds[0]))
    assert plans[3] == plans[0]
    assert plans[0].settle == command.SETTLE == 120


@pytest.mark.parametrize("words", [["--rounds", "1"], ["--seconds", "x"], ["--settle", "-1"], ["--rounds", "9999"]])
def test_malformed_options_are_told(run: Run, words: list[str]) -> None:
    code, _, error = run("compare", *words)
    assert (code, "whole number from" in error) == (2, True)


def test_phases_hold_and_release_the_agent_and_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Over a made-up tree whose pressure is less while the agent adjusts; the load is a real process."""
    (tree := Tree(tmp_path)).add("a.service")
    holds: list[float] = []
    stalled = [0]

    def ask(_path: Path, request: Mapping[str, Any]) -> Mapping[str, Any]:
        if request["command"] == "status":
            return {
                "mode": "adjusting",
                "units": [{"unit": "a.service", "role": "batch", "there": True, "cgroup": "/a.service"}],
            }
        holds.append(request["seconds"])
        return {"mode": "held" if request["seconds"] else "adjusting"}

    def sleep(seconds: float) -> None:
        stalled[0] += 800_000 if holds[-1] else 400_000
        line = f"some avg10=0.00 avg60=0.00 avg300=0.00 total={stalled[0]}\n"
        (tree.root / "a.service/cpu.pressure").write_text(line)
        real(seconds / 20)

    real = time.sleep
    monkeypatch.setattr(compare, "ask", ask)
    monkeypatch.setattr(compare, "mounted", lambda: tree.root)
    monkeypatch.setattr(compare.time, "sleep", sleep)
    load = f"echo $$ >> {tmp_path}/loads; sleep 100"
    result, path = compare.compare(Plan(3, 2, 0, load, 1), tmp_path / "raw.json", lambda _: None)
    assert json.loads(path.read_text()) == json.loads(json.dumps(result))
    row = next(row for row in result["ratios"] if row["measure"] == "stalled cpu some")
    assert row["ratio"] == pytest.approx(0.5, rel=0.3)
    assert row["high"] < 1
    assert holds[-1] == 0
    loads = [int(pid) for pid in (tmp_path / "loads").read_text().split()]
    assert len(loads) == 6
    assert not [pid for pid in loads if Path(f"/proc/{pid}").exists()]
    holds.clear()
    with pytest.raises(CompareError, match="the load ended with 3"):
        compare.compare(Plan(2, 2, 0, "exit 3", 1), tmp_path / "raw.json", lambda _: None)
    assert holds[-1] == 0


def test_probe_counts_what_it_sees() -> None:
    late = summary([1.0] * 98 + [5.0, 9.0], 100, 2.0)
    assert late == {"p50": 1.0, "p99": 9.0, "worst": 9.0, "work": 50.0}
    assert summary([], 0, 0.0)["work"] == 0.0


def test_probe_measures_between_its_signals() -> None:
    environment = os.environ | {"PYTHONPATH": ":".join(sys.path)}
    code = """if True:
        import os, signal, threading, sys, time
        from lichen_resources import probe
        def tell():
            time.sleep(0.3); os.kill(os.getpid(), signal.SIGUSR1)
            time.sleep(0.7); os.kill(os.getpid(), signal.SIGTERM)
        threading.Thread(target=tell).start()
        sys.argv = ["probe", "30"]
        probe.main()
    """
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    ready, answer = done.stdout.splitlines()
    assert ready == "ready"
    told = json.loads(answer)
    assert 0 <= told["p50"] <= told["p99"] <= told["worst"] < 1000
    assert 5 < told["work"] < 101
