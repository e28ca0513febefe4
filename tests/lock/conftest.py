from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lock.archive import Key
from tests.lock.world import World
from tests.profiles.sample import Sample
from tests.store.mirror import Mirror


def _keys() -> Iterator[Key]:
    # Not below tmp_path: gpg's agent needs a socket with a short path.
    with tempfile.TemporaryDirectory(prefix="key-") as home:
        key = Key(Path(home))
        yield key
        key.close()


key = pytest.fixture(_keys, scope="session", name="key")
stranger = pytest.fixture(_keys, scope="session", name="stranger")


@pytest.fixture
def _quiet_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy, no settings of uv, quick failures, and temporary files where the test sees them."""
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("UV_INDEX_URL", "UV_DEFAULT_INDEX", "LICHEN_MIRRORS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("UV_HTTP_TIMEOUT", "1")
    monkeypatch.setattr("builder.steps.apt.TIMEOUT_SECONDS", 1)
    # A bug must not hang the tests; apt itself needs less than one second here.
    monkeypatch.setattr("builder.steps.apt.UPDATE_SECONDS", 30.0)
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    with Mirror() as served:
        yield served


@pytest.fixture
def second() -> Iterator[Mirror]:
    with Mirror() as served:
        yield served


@pytest.fixture
def world(tmp_path: Path, key: Key, mirror: Mirror, monkeypatch: pytest.MonkeyPatch, _quiet_environment: None) -> World:
    """A project that can be locked: everything it asks for is on the mirror."""
    monkeypatch.setattr("builder.steps.apt.KEYRINGS", (key.keyring,))
    made = World(Sample(tmp_path / "project"), tmp_path / "scratch", mirror, key)
    made.publish()
    return made
