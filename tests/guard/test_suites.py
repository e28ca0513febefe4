"""The suites of the security agent, where they need no agent."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from lichen_guard.alert import Alert, Priority
from lichen_guard.alertrecord import Record
from lichen_guard.eventlog import EventLog

from tests.conftest import REPOSITORY

SUITES = REPOSITORY.overlays / "security-agent/tests"


def module(path: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A suite's module, its folder in the search path as for a script; what it adds to that is taken out again."""
    monkeypatch.setattr(sys, "path", [*sys.path, str((SUITES / path).parent)])
    specification = importlib.util.spec_from_file_location(f"suite_{Path(path).stem}", SUITES / path)
    assert specification is not None
    assert specification.loader is not None
    loaded = importlib.util.module_from_spec(specification)
    monkeypatch.setitem(sys.modules, loaded.__name__, loaded)
    specification.loader.exec_module(loaded)
    return loaded


def test_alerts_of_ordinary_work_are_counted_over_rotations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = module("benign/suite.py", monkeypatch)
    log = EventLog(tmp_path / "events.jsonl", 2000, 3)

    def tell(first: int, end: int) -> None:
        for number in range(first, end):
            log.deliver(Record(number, 0.0, Alert("rules", "R", Priority.WARNING, "x" * 500, 0)))

    assert suite.alerts_since(0, log.path) == ([], 0)
    tell(1, 4)
    tell(4, 7)
    records, missing = suite.alerts_since(3, log.path)
    assert ([record["number"] for record in records], missing) == ([4, 5, 6], 0)
    tell(7, 30)
    records, missing = suite.alerts_since(3, log.path)
    assert records[-1]["number"] == 29
    assert len(records) + missing == 26
    assert missing > 0, "the log is bounded"


def test_the_classroom_s_client_is_laid_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it the session in the hub would be left out, which looks like an image without a hub."""
    suites = module("guest_suites.py", monkeypatch)
    command = suites.laying_down("benign").replace(suites.FOLDER, str(tmp_path))
    subprocess.run(["sh", "-c", command], check=True)
    assert {path.name for path in (tmp_path / "benign").iterdir()} >= {"notebook.py", "hub_client.py", "work.py"}


@pytest.mark.parametrize("curl", [True, False])
@pytest.mark.parametrize("name", ["reverse shell in Python", "download run at once"])
def test_the_act_is_a_real_one(name: str, curl: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell answers through the connection; what was fetched is run."""
    actions = module("attacks/actions.py", monkeypatch)
    (action,) = (action for action in actions.ACTIONS if action.name == name)
    (programs := tmp_path / "programs").mkdir()
    (programs / "python3").symlink_to(os.path.realpath(sys.executable))
    for program in ("sh", "mkdir", "grep", "sleep", "chmod", "touch", *(["curl"] if curl else [])):
        if not (found := shutil.which(program)):
            pytest.skip(f"no {program}")
        (programs / program).symlink_to(found)
    environment = {**os.environ, "WORK": str(tmp_path), "PATH": str(programs)}
    done = subprocess.run(["sh", "-c", action.script], env=environment, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
