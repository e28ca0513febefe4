"""One whole lock, kept beside this file and read like code.

When the format or the resolution changes on purpose: ``pytest tests/lock/test_golden.py --refresh-golden``, and
review the diff.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from builder.data import toolchain
from tests.lock.archive import Package
from tests.lock.world import World

GOLDEN = Path(__file__).with_name("golden.json")
REFRESH = "LICHEN_REFRESH_GOLDEN"
DATE = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
SIGNED = "0" * 64  # stands for the digests of InRelease files: each signature has other bytes


@pytest.fixture
def fixed(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """The world with short lists of our own, fixed dates, and a version of uv that stays."""
    monkeypatch.setattr(toolchain, "TOOLS_PACKAGES", ("systemd-repart",))
    monkeypatch.setattr(toolchain, "MACHINE_PACKAGES", {"amd64": ("zstd",)})
    monkeypatch.setattr(toolchain, "_INITRD_PACKAGES", ("systemd", "udev"))
    monkeypatch.setattr(toolchain, "IMAGE_PACKAGES", ("systemd", "udev"))
    for module in ("lock", "resolve"):
        monkeypatch.setattr(f"builder.verbs.{module}.metadata", SimpleNamespace(version=lambda _name: "0.13.0"))
    world.index.add("uv", "0.13.0", "py3-none-manylinux_2_17_x86_64")
    world.security.add(Package("less", "1:668-1+deb13u1", "amd64", depends="libtinfo6"))
    for number, suite in enumerate(world.suites):
        suite.date = DATE.replace(day=DATE.day + number)
    world.forky.valid_until = datetime(2026, 2, 7, tzinfo=UTC)
    world.publish()
    return world


def test_lock_is_as_it_was(fixed: World) -> None:
    lock = fixed.lock(accept_expired=frozenset({"forky"})).lock
    suites = tuple(index.model_copy(update={"inrelease_sha256": SIGNED}) for index in lock.suites)
    text = lock.model_copy(update={"suites": suites}).text()
    if os.environ.get(REFRESH):
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text(), "if this is meant: pytest tests/lock --refresh-golden"
