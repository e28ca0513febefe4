from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from builder.cli.main import run
from tests.profiles.sample import Sample


@pytest.fixture
def sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sample:
    """A project, entered, with a cache of its own and no settings from the environment."""
    made = Sample(tmp_path / "project")
    monkeypatch.chdir(made.root)
    monkeypatch.setenv("LICHEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("LICHEN_MIRRORS", "FORCE_COLOR", "_LICHEN_COMPLETE"):
        monkeypatch.delenv(name, raising=False)
    return made


@dataclass(frozen=True)
class Said:
    """What one command line left."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Lichen = Callable[..., Said]


@pytest.fixture
def lichen(capfd: pytest.CaptureFixture[str]) -> Lichen:
    """Runs a command line in this process."""

    def call(*arguments: str) -> Said:
        capfd.readouterr()
        code = run(arguments)
        out, err = capfd.readouterr()
        return Said(code, out, err)

    return call
