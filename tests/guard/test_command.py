"""The command lichen-guard."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lichen_agent.control import ControlError
from lichen_guard import command
from lichen_guard.alert import Alert, Priority
from lichen_guard.alertrecord import Record
from lichen_guard.anomaly import Finding
from lichen_guard.eventlog import EventLog
from lichen_guard.features import NAMES
from lichen_guard.listing import status_text
from lichen_guard.reports import of_finding

from tests.guard.making import attack, gathered
from tests.guard.test_anomaly import small_model

HEAVY = {"numpy", "sklearn", "lichen_guard.rules"}
NOW = 1_790_000_000.0
STATUS: Mapping[str, Any] = {
    "mode": "observe",
    "pid": 7,
    "uptime_seconds": 7300,
    "memory_bytes": 60 << 20,
    "hooks": {"lsm/file_open": "attached", "lsm/bpf": "no such hook"},
    "rules": {
        "loaded": ["A"],
        "disabled": [],
        "unsupported": ["x: B is off"],
        "unfilled": ["x: C says <NA>"],
        "unbounded": [],
        "refused": ["f:3:1: no"],
    },
    "model": {
        "state": "learning",
        "windows": 5,
        "wanted_windows": 100,
        "gathering_seconds": 70,
        "being_learned": False,
    },
    "events": {"exec": 5, "open": 0},
    "lost": {"exec": 0},
    "not_judged": 0,
    "not_understood": 4,
    "alerts": {"A\x1b": 2},
    "held_back": 1,
    "outputs": {"webhook": {"delivered": 1, "waiting": 2, "given_up": 3, "last_error": "refused"}},
}


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EventLog:
    monkeypatch.setattr(command, "LOG", tmp_path / "events.jsonl")
    return EventLog(tmp_path / "events.jsonl", 10**6, 3)


@pytest.fixture
def told(log: EventLog) -> EventLog:
    """Three alerts in the log, an hour between each."""
    (window,) = gathered(attack(0))
    finding = Finding(window, 0.8, 0.6, small_model().reasons(np.full(len(NAMES), 4.0)), {"programs": ["/tmp/\x1bx"]})
    alerts = [
        Alert("rules", "Shell", Priority.WARNING, "sh", 0, {"proc.name": "sh"}),
        of_finding(finding),
        Alert("rules", "Shell", Priority.CRITICAL, "sh again", 0, denied=True),
    ]
    for number, alert in enumerate(alerts, 1):
        log.deliver(Record(number, NOW + 3600 * number, alert))
    return log


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            command.main(list(arguments))
        printed = capsys.readouterr()
        return ended.value.code or 0, printed.out, printed.err  # type: ignore[return-value]

    return run


Run = Callable[..., tuple[int, str, str]]


def answers(monkeypatch: pytest.MonkeyPatch, answer: Mapping[str, Any] | Exception) -> None:
    def ask(_path: Path, _request: Mapping[str, object]) -> Mapping[str, Any]:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(command, "ask", ask)


def test_status_is_for_people_and_machines(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, STATUS)
    code, out, _ = run("status")
    assert code == 0
    for words in (
        "mode observe, running for 2 h 1 min, 60 MiB",
        "hooks: 1 attached",
        "lsm/bpf: no such hook",
        "1 judge",
        "x: B is off",
        "x: C says <NA>",
        "REFUSED",
        "f:3:1: no",
        "learning, 5 of 100 windows in 1 min 10 s; nothing is told",
        "events: 5 exec\n",
        "lost: none",
        "NOT UNDERSTOOD: 4",
        "2 A\\x1b; 1 held back",
        "to the webhook: 1 delivered, 2 waiting, 3 given up; last error refused",
    ):
        assert words in out
    code, out, _ = run("status", "--json")
    assert json.loads(out) == STATUS


def test_status_of_a_model_at_work() -> None:
    model = {"state": "judging", "learned_from": 1000, "told": 2, "judged": 900, "rate": 0.0033, "units": 12}
    assert "judging, learned from 1000 windows; 2 of 900 windows told, at most 0.33% of normal ones are" in status_text(
        {**STATUS, "model": model}
    )
    assert "model: switched off" in status_text({**STATUS, "model": {"state": "off"}})


def test_agent_that_does_not_run_has_its_own_exit_code(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, ControlError("the agent does not run"))
    for arguments in (["status"], ["learn"]):
        assert run(*arguments) == (3, "", "lichen-guard: the agent does not run\n")


@pytest.mark.usefixtures("told")
def test_events_are_chosen(run: Run) -> None:
    def numbers(*arguments: str) -> list[int]:
        return [json.loads(line)["number"] for line in run("events", "--json", *arguments)[1].splitlines()]

    assert numbers() == [1, 2, 3]
    assert numbers("--rule", "Shell") == [1, 3]
    assert numbers("--priority", "critical") == [3]
    since = datetime.datetime.fromtimestamp(NOW + 3600 * 2, datetime.UTC).isoformat()
    assert numbers("--since", since) == [2, 3]
    assert numbers("--since", "1s") == []


@pytest.mark.usefixtures("told")
def test_events_are_one_line_each_and_safe(run: Run) -> None:
    lines = run("events")[1].splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("1 2026-09-21 ")
    assert lines[0].endswith("warning Shell: sh")
    assert "critical Shell (refused): sh again" in lines[2]
    assert all(line.isprintable() for line in lines)


def test_log_that_somebody_wrote_into_is_safe_to_look_at(run: Run, told: EventLog) -> None:
    record = json.loads(told.path.read_text().splitlines()[0]) | {"text": "\x1b]0;pwned\x07", "rule": "x\nfake line"}
    with told.path.open("a") as file:
        file.write(json.dumps(record) + "\nno json\n[1]\n")
    lines = run("events")[1].splitlines()
    assert len(lines) == 4
    assert "\\x1b]0;pwned\\x07" in lines[3]


def test_followed_events_are_shown_as_they_come(run: Run, told: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    def follow(_path: Path) -> Iterator[Mapping[str, Any]]:
        yield json.loads(told.path.read_text().splitlines()[2])
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "follow_log", follow)
    code, out, _ = run("events", "--follow")
    assert code == 130
    assert out.startswith("3 ")
    assert len(out.splitlines()) == 1
    assert len(run("events", "--follow", "--since", "2026-01-01")[1].splitlines()) == 4


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10m", 600), ("2h", 7200), ("1d", 86400)])
def test_time_ago(text: str, seconds: int) -> None:
    ago = datetime.datetime.now(datetime.UTC) - command.moment(text)
    assert abs(ago.total_seconds() - seconds) < 5


@pytest.mark.parametrize("text", ["", "yesterday", "10", "-5m", "10y"])
def test_what_is_no_time_is_told(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="no time"):
        command.moment(text)


@pytest.mark.usefixtures("told")
def test_model_explains_itself(run: Run) -> None:
    code, out, _ = run("explain")
    assert code == 0
    assert "score 0.8, told above 0.6; 44 events" in out
    assert "events is 4.0, usually 0.0; without that the score were " in out
    assert "(all events, log(1 + n))" in out
    assert "new programs: /tmp/\\x1bx" in out
    assert run("explain", "2")[1] == out
    assert "proc.name = sh" in run("explain", "1")[1]
    assert [record["number"] for record in json.loads(run("explain", "--json")[1])] == [2]


@pytest.mark.usefixtures("log")
def test_nothing_to_explain_is_told(run: Run) -> None:
    assert run("explain")[0] == 1
    code, _, error = run("explain", "99")
    assert (code, error.startswith("lichen-guard: there is no alert 99 in ")) == (1, True)


def test_learning_is_asked_for(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, {"windows": 70})
    code, out, _ = run("learn", "--windows", "70")
    assert code == 0
    assert "from 70 windows" in out
    assert json.loads(run("learn", "--json")[1]) == {"windows": 70}


@pytest.mark.parametrize(("seconds", "code"), [(0.0123, 0), (None, 1)])
def test_test_says_how_soon(run: Run, monkeypatch: pytest.MonkeyPatch, seconds: float | None, code: int) -> None:
    monkeypatch.setattr(command, "run_self_test", lambda _: seconds)
    got, out, error = run("test")
    assert got == code
    assert ("after 12.3 ms" in out) is (code == 0)
    assert ("no alert came within 30 s" in error) is (code == 1)
    assert json.loads(run("test", "--json")[1]) == {"seen": code == 0, "milliseconds": seconds and 12.3}


def test_rule_files_are_checked(run: Run, tmp_path: Path) -> None:
    (good := tmp_path / "good.yaml").write_text(
        "- rule: A\n  desc: a\n  condition: evt.type = execve\n  output: o\n  priority: NOTICE\n"
    )
    assert run("test", "--rules", str(good)) == (0, "well-formed, rules that judge: 1\n", "")
    (lacking := tmp_path / "lacking.yaml").write_text(good.read_text().replace("output: o", "output: o %ka.verb"))
    code, out, _ = run("test", "--json", "--rules", str(lacking))
    assert (code, json.loads(out)["rules"]) == (0, ["A"])
    assert json.loads(out)["notes"] == [f"{lacking}:4:13: rule 'A' says <NA>: ka.verb is not to be had"]
    (bad := tmp_path / "bad.yaml").write_text(good.read_text().replace("= execve", "= = execve"))
    code, out, error = run("test", "--rules", str(good), str(bad))
    assert (code, out) == (2, "")
    assert error.startswith(f"{bad}:3:")
    code, out, _ = run("test", "--json", "--rules", str(bad))
    assert code == 2
    assert json.loads(out)["problems"][0]["place"].startswith(f"{bad}:3:")


def test_help_names_every_command(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    assert all(f"    {name} " in out for name in ("status", "events", "learn", "explain", "test"))


def test_asking_loads_nothing_heavy() -> None:
    """On an emulated processor NumPy alone takes seconds."""
    code = "import sys, lichen_guard.command; print(*sys.modules)"
    paths = os.pathsep.join(path for path in sys.path if path.endswith("/lichen/python"))
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    assert HEAVY.isdisjoint(done.stdout.split())
