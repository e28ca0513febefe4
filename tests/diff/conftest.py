from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Lichen, lichen
from tests.diff.desk import Desk

__all__ = ["Lichen", "lichen"]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A project, entered, with a cache of its own."""
    made = Desk(tmp_path / "project")
    monkeypatch.chdir(made.sample.root)
    monkeypatch.setenv("LICHEN_CACHE", str(made.bench.cache.root))
    return made
