"""A project without images, and machines that do not outlive their test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from builder.data.manifest import Manifest
from builder.foundation.place import Cache, Project
from builder.foundation.toolbox import Toolbox
from builder.foundation.workbench import Workbench
from builder.steps.machine import MachineSpec
from builder.verbs.boot import running_machines, stop
from tests.machine import tinyguest


@pytest.fixture
def workbench(tmp_path: Path) -> Iterator[Workbench]:
    """A project and a cache of this test's own; machines that a failing test left in it are ended."""
    for name in ("profiles", "overlays"):
        (tmp_path / "project" / name).mkdir(parents=True)
    workbench = Workbench(Project(tmp_path / "project"), Cache(tmp_path / "cache"))
    yield workbench
    for name in running_machines(workbench.cache):
        stop(workbench, name, timeout=0)


@pytest.fixture
def manifest() -> Manifest:
    """Of an image with the overlays ``paint`` and ``sound``."""
    return Manifest(
        profile="tiny",
        architecture="amd64",
        hostname="tiny",
        lock="0" * 64,
        image="0" * 64,
        source_date_epoch=1,
        overlays=("paint", "sound"),
        options={"paint": {"colour": "red"}},
        ports=(443,),
        root_filesystem="ext4",
        kernel="6.12",
        tools={},
        packages=(),
        wheels=(),
        artefacts={},
    )


MakeGuest = Callable[..., MachineSpec]


@pytest.fixture
def make_guest(toolbox: Toolbox, tmp_path: Path) -> MakeGuest:
    """Make the specification of a machine whose guest prints a text and then does one thing."""

    def make(text: str, then: bytes = tinyguest.HANG, **settings: object) -> MachineSpec:
        folder = tmp_path / "image"
        folder.mkdir(exist_ok=True)
        image = tinyguest.disk(folder / "image.raw", tinyguest.program(text, then), toolbox)
        return MachineSpec(image, "tcg", memory=256, cpus=1, **settings)  # type: ignore[arg-type]

    return make
