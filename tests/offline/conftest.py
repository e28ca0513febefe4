"""The world that locks are made from, with a lock made; and machines without network."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from builder.foundation.place import Cache, Project
from builder.foundation.workbench import Workbench
from tests.cli.conftest import lichen, sample
from tests.lock.conftest import _quiet_environment, key, mirror, second, world
from tests.lock.world import World
from tests.store.conftest import Recorder

__all__ = ["_quiet_environment", "key", "lichen", "mirror", "sample", "second", "world"]


@pytest.fixture
def locked(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    world.lock()
    world.mirror.requests.clear()
    monkeypatch.chdir(world.sample.root)
    return world


@pytest.fixture
def told() -> Recorder:
    return Recorder()


@pytest.fixture
def bench(locked: World, told: Recorder) -> Workbench:
    """A workbench on the locked world."""
    return replace(locked.bench(), progress=told)


@pytest.fixture
def elsewhere(locked: World, tmp_path: Path) -> Callable[[], Workbench]:
    """Makes a machine without network: a copy of the project, no cache, no mirror."""

    def make() -> Workbench:
        root = tmp_path / "elsewhere"
        shutil.copytree(locked.sample.root, root, ignore=shutil.ignore_patterns("cache"))
        return Workbench(Project(root), Cache(tmp_path / "elsewhere-cache"))

    return make
