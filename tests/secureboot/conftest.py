from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from builder.foundation.place import Cache
from builder.verbs.keys import new_keys
from tests.cli.conftest import lichen
from tests.machine.conftest import make_guest

__all__ = ["lichen", "make_guest"]

MOMENT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


@dataclass(frozen=True)
class Keys:
    """A set as `lichen keys new` makes it."""

    folder: Path

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    def pem(self, name: str) -> bytes:
        return (self.folder / f"{name}.pem").read_bytes()


def make_set(folder: Path) -> Keys:
    return Keys(new_keys(folder, Cache(folder.parent / "cache"), MOMENT).folder)


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return make_set(tmp_path_factory.mktemp("keys") / "set")
