"""The command lichen-sched, against an agent that answers over a real socket."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from lichen_agent.command import NOT_RUNNING
from lichen_agent.control import Control
from lichen_sched import command, memory
from lichen_sched.bench import MEASURES

from tests.sched.making import rendered

TRIED = {
    "bursts": 100,
    "errors": {"constant": 2.0, "last": 1.9, "ewma": 1.5, "trees": 1.0},
    "best": "ewma",
    "gain": 0.33,
    "low": 0.2,
    "high": 0.4,
}
MODEL: dict[str, Any] = {
    "predictor": "trees",
    "wanted": "auto",
    "version": 3,
    "versions": [3],
    "samples": 5000,
    "learning": False,
    "last": {"outcome": "installed", "why": "", **TRIED},
    "outcomes": {"installed": 1, "refused": 0, "taken back": 0, "failed": 0},
    "learned": 1000.0,
    "learned_from": 300,
    "tried": TRIED,
}
STATUS: dict[str, Any] = {
    "mode": "active",
    "why": "a person asked for it",
    "configured": "observe",
    "wish": "active",
    "support": "",
    "cpu_quotas": [],
    "ignore_cpu_quotas": False,
    "returns": {"count": 1, "until": 0, "given_up": False, "reasons": [[900.0, "a task\x1b[31m waited"]]},
    "delays": {
        "counted": 10,
        "p50": 1e-5,
        "p99": 0.002,
        "p99.9": 0.1,
        "longest": 1.5,
        "limit": 0.02,
        "pressure": 3.0,
        "usual": {"0": 0.001},
    },
    "pid": 1,
    "uptime_seconds": 100,
    "cpu_seconds": 1.0,
    "model": MODEL,
    "counters": {"switches": 5, "lost": 0, "longest_ns": 2_500_000_000},
    "sample_every": 3,
    "not_understood": 0,
}


class Answerer:
    """An agent of answers that lie ready."""

    def __init__(self, folder: Path) -> None:
        self.answers: dict[str, Any] = {"status": STATUS}
        self.asked: list[Mapping[str, object]] = []
        self._control = Control(folder / "control", self._answer)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.01):
            self._control.turn()

    def _answer(self, request: Mapping[str, object]) -> Mapping[str, object]:
        self.asked.append(request)
        answer = self.answers.get(str(request["command"]), {"error": "unknown"})
        return answer(request) if callable(answer) else answer  # type: ignore[no-any-return]

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._control.close()


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    (state := tmp_path / "lichen-sched").mkdir()
    monkeypatch.setattr(command, "CONTROL", state / "control")
    monkeypatch.setattr(command, "STATE", state)
    monkeypatch.setattr(command, "LOOK", 0.01)
    monkeypatch.setattr(command, "START", ("true",))
    (settings := tmp_path / "sched.toml").write_text(rendered("etc/lichen/sched.toml.j2", mode="observe"))
    monkeypatch.setattr(command, "CONFIGURATION", settings)

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            command.main(list(arguments))
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


@pytest.fixture
def agent(run: Run, tmp_path: Path) -> Iterator[Answerer]:
    answerer = Answerer(tmp_path / "lichen-sched")
    yield answerer
    answerer.close()


def test_status(run: Run, agent: Answerer) -> None:
    code, out, _ = run("status")
    assert code == 0
    assert "mode active: a person asked for it" in out
    assert "ewma 1.500, trees 1.000; gain over ewma +33.0%, with 95 % confidence +20.0% to +40.0%" in out
    assert "median 10 us, 99 % 2.0 ms (too long above 20.0 ms)" in out
    assert "counted: 5 switches; the longest delay since the start 2.50 s" in out
    assert "\x1b" not in out
    assert json.loads(run("status", "--json")[1]) == STATUS


def test_agent_that_does_not_run(run: Run) -> None:
    for arguments in (["status"], ["audit"], ["train"], ["on"], ["bench", "--rounds", "2"]):
        code, _, err = run(*arguments)
        assert code == 3
        assert err == "lichen-sched: the agent does not run; see systemctl status lichen-sched.service\n"


def test_off_works_without_the_agent(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("off")
    assert code == 0
    assert "the switch is off for whenever the agent runs; now the agent does not run" in out
    assert (tmp_path / "lichen-sched/off").exists()


def test_off_before_the_first_start(run: Run, tmp_path: Path) -> None:
    (tmp_path / "lichen-sched").rmdir()
    assert run("off")[0] == 0
    assert (tmp_path / "lichen-sched/off").exists()


@pytest.mark.parametrize("order", ["off", "observe", "on", "configured"])
def test_orders_arrive(run: Run, agent: Answerer, order: str) -> None:
    agent.answers[order] = {"mode": "off", "why": "because"}
    assert run(order)[:2] == (0, "mode off: because\n")
    assert agent.asked[-1] == {"command": order}
    assert json.loads(run(order, "--json")[1])["mode"] == "off"


@pytest.mark.parametrize(
    ("last", "code", "said"),
    [
        ({"outcome": "installed", "why": "", **TRIED}, 0, "installed\n  mean error of log2 on 100 bursts"),
        ({"outcome": "refused", "why": "its gain is small", **TRIED}, 1, "refused: its gain is small\n"),
        ({"outcome": "failed", "why": "it ended with -9"}, 1, "failed: it ended with -9\n"),
    ],
)
def test_train_waits_for_the_outcome(run: Run, agent: Answerer, last: dict[str, Any], code: int, said: str) -> None:
    states = iter([True, True, False])
    agent.answers["train"] = {"samples": 77}
    agent.answers["status"] = lambda _: {"model": {**MODEL, "learning": next(states), "last": last}}
    got, out, _ = run("train")
    assert got == code
    assert out.startswith("Learning from 77 samples.\n" + said)


def test_train_that_is_refused_at_once(run: Run, agent: Answerer) -> None:
    agent.answers["train"] = {"error": "3 samples are too few"}
    assert run("train") == (3, "", "lichen-sched: 3 samples are too few\n")


def test_bench(run: Run, agent: Answerer, monkeypatch: pytest.MonkeyPatch) -> None:
    mode = ["observe"]

    def trial(request: Mapping[str, Any]) -> Mapping[str, Any]:
        mode[0] = request["mode"] or "observe"
        return {"mode": mode[0], "why": ""}

    agent.answers["trial"] = trial
    agent.answers["status"] = lambda _: {"mode": mode[0], "why": ""}
    load = lambda _: dict.fromkeys(MEASURES, 3.0 if mode[0] == "active" else 1.5)  # noqa: E731
    monkeypatch.setattr("lichen_sched.bench.time.sleep", lambda _: None)
    monkeypatch.setattr("lichen_sched.bench.run_bench.__defaults__", (load,))
    code, out, _ = run("bench", "--rounds", "3", "--seconds", "1", "--seed", "5")
    assert code == 0
    assert "work done: 2.00 (2.00 to 2.00), a difference beyond chance" in out
    assert "seed 5" in out
    assert len(json.loads(run("bench", "--rounds", "2", "--seed", "5", "--json")[1])["phases"]) == 4
    assert mode == ["observe"]


@pytest.mark.parametrize("wrong", [["--rounds", "1"], ["--rounds", "x"], ["--seconds", "0"], ["--seconds", "1e3"]])
def test_malformed_options(run: Run, wrong: list[str]) -> None:
    code, _, err = run("bench", *wrong)
    assert code == 2
    assert "is no whole number from" in err


def test_audit(run: Run, agent: Answerer) -> None:
    row = {
        "ran": 2.0,
        "waited": 1.0,
        "wait_per_run": 0.5,
        "longest": 0.1,
        "bursts": 50,
        "error": 1.0,
        "bias": 0.9,
        "samples": 50,
        "bias_interval": [0.7, 1.1],
        "differs": 1,
    }
    agent.answers["audit"] = {
        "mode": "active",
        "predictor": "trees",
        "seconds": 90,
        "bias": 0.1,
        "samples": 50,
        "cgroups": [{"cgroup": "/user.slice/\x1b]0;x", **row}],
        "users": [{"uid": 4_000_000_000, **row, "differs": 0, "bias_interval": None}],
        "siblings": [{"parent": "/", "jain": 0.987, "ran_per_weight": {"/user.slice": 0.02}}],
        "bias_and_wait": {"cgroups": 7, "correlation": 0.3},
        "different": [{"cgroup": "/user.slice/\x1b]0;x", **row}],
    }
    code, out, _ = run("audit")
    assert code == 0
    assert "Jain's index over weights 0.987" in out
    assert "+0.70 to +1.10" in out
    assert "4000000000" in out
    assert "LONGER" in out
    assert "\x1b" not in out
    assert json.loads(run("audit", "--json")[1])["mode"] == "active"


@pytest.mark.parametrize(
    ("mode", "ignored", "said"),
    [
        ("observe", False, "CPU quotas: of 2 cgroups; ours may not be in force"),
        ("observe", True, "CPU quotas: of 2 cgroups; ours would not keep them, ignore_cpu_quotas allows it"),
        ("active", True, "CPU QUOTAS THAT ARE NOT KEPT: of 2 cgroups"),
    ],
)
def test_status_tells_of_cpu_quotas(run: Run, agent: Answerer, mode: str, ignored: bool, said: str) -> None:
    agent.answers["status"] = STATUS | {"mode": mode, "cpu_quotas": ["/a", "/b"], "ignore_cpu_quotas": ignored}
    assert said in run("status")[1]


# Without an agent


@pytest.fixture
def asleep(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No agent runs, the settings say off; instead of being started it leaves a file."""
    (tmp_path / "sched.toml").write_text(rendered("etc/lichen/sched.toml.j2", mode="off"))
    monkeypatch.setattr(command, "START", ("touch", str(tmp_path / "started")))
    return tmp_path


def test_agent_that_rests_says_so(run: Run, asleep: Path) -> None:
    assert run("status") == (0, f"mode off: {asleep}/sched.toml says so; the agent rests\n", "")
    assert run("off")[0] == 0
    code, out, _ = run("status", "--json")
    assert (code, json.loads(out)["wish"]) == (0, "off")


def test_wish_is_left_and_the_agent_started(run: Run, asleep: Path) -> None:
    run("off")
    # Nobody answers after the start.
    assert run("on")[0] == NOT_RUNNING
    assert (asleep / "started").exists()
    state = asleep / "lichen-sched"
    assert json.loads((state / "state.json").read_text())["wish"] == "active"
    assert not (state / "off").exists()
    assert run("status")[0] == NOT_RUNNING
    (asleep / "started").unlink()
    assert run("configured")[0] == 0
    assert not (asleep / "started").exists()


def test_wish_is_not_left_for_settings_that_no_agent_starts_by(run: Run, asleep: Path) -> None:
    settings = asleep / "sched.toml"
    settings.write_text(settings.read_text().replace("port = ", "prot = "))
    code, _, err = run("on")
    assert code == 1
    assert "prot: there is no such setting" in err
    assert not (asleep / "lichen-sched/state.json").exists()
    assert not (asleep / "started").exists()


def test_agent_that_does_not_start_is_told(run: Run, asleep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "START", ("sh", "-c", "echo no such unit >&2; exit 5"))
    assert run("observe") == (NOT_RUNNING, "", "lichen-sched: the agent does not start: no such unit\n")


@pytest.mark.parametrize(
    ("configured", "wish", "off", "rests"),
    [
        ("off", "", False, True),
        ("off", None, False, True),
        ("off", "observe", False, False),
        ("off", "rubbish", False, False),
        ("observe", "", False, False),
        ("active", "observe", True, True),
    ],
)
def test_when_there_is_nothing_to_do(tmp_path: Path, configured: str, wish: str | None, off: bool, rests: bool) -> None:
    if wish is not None:
        (tmp_path / "state.json").write_text("{" if wish == "rubbish" else json.dumps({"wish": wish}))
    if off:
        (tmp_path / "off").touch()
    assert memory.rests(tmp_path, configured) == rests
