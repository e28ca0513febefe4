"""Files that packages' scripts want to find, as those of NVIDIA for Jetson do: there before anything is installed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.foundation.place import Cache, Project
from builder.foundation.workbench import Workbench
from builder.verbs.build import provide_component
from builder.verbs.lock import lock
from tests.conftest import REPOSITORY
from tests.lock.archive import Key, Package, Suite
from tests.lock.conftest import stranger
from tests.store.mirror import Mirror

__all__ = ["stranger"]

MARK = "opt/nvidia/l4t-packages/.nv-l4t-disable-boot-fw-update-in-preinstall"
TRACE = "opt/ran"
REFUSING = f"#!/bin/sh\ntest -e /{MARK} || {{ echo 'no board here'; exit 1; }}\ntouch /{TRACE}\n"
PROFILE = """\
description: The small profile and a package that wants to be on a board.
extends: [small]
overlays: [board]
repositories:
  vendor: {{key: keys/vendor.asc, fingerprint: {fingerprint}, suites: [./]}}
"""


@pytest.fixture
def bench(small_project: Project, cache: Cache, stranger: Key, tmp_path: Path) -> Iterator[Workbench]:
    """A project with the skeleton of the shipped overlay, and a vendor whose package looks for it."""
    if os.geteuid() != 0:
        pytest.skip("building needs root")
    project = Project(tmp_path / "project")
    shutil.copytree(small_project.root, project.root, symlinks=True)
    shutil.copytree(REPOSITORY.overlays / "l4t/skeleton", project.overlays / "board/skeleton")
    (project.overlays / "board/overlay.yaml").write_text("description: d\npackages: [refusing]\n")
    (project.profiles / "board.yaml").write_text(PROFILE.format(fingerprint=stranger.fingerprint))
    (project.root / "keys").mkdir()
    (project.root / "keys/vendor.asc").write_bytes(stranger.armoured)
    with Mirror() as mirror:
        packages = [Package("refusing", preinst=REFUSING)]
        Suite("vendor", "./", packages, architectures=("amd64",), origin="Vendor").publish(mirror, stranger)
        yield Workbench(project, cache, mirrors=(f"vendor={mirror.url}/vendor",))


@pytest.mark.long
def test_is_there_before_the_packages(bench: Workbench) -> None:
    lock(bench, "board", accept_expired=frozenset({"forky"}))
    base = provide_component(bench, "board", "base")
    # The script would have refused, had it not been there.
    (mark,), (trace,) = base.glob(f"*/{MARK}"), base.glob(f"*/{TRACE}")
    assert trace.is_file()
    assert (mark.read_bytes(), mark.stat().st_uid, mark.stat().st_mode & 0o7777) == (b"", 0, 0o644)
    assert mark.parent.stat().st_mode & 0o7777 == 0o755
    shutil.rmtree(base)
