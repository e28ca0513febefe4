"""The small image in each form, made once; and tiny images whose files a test chooses."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from builder.data.form import Form
from builder.data.manifest import Artefact, Manifest
from builder.foundation.digest import digest_file
from builder.foundation.place import Cache, Project
from builder.foundation.process import Runner
from builder.foundation.toolbox import Toolbox
from builder.foundation.workbench import Workbench
from builder.steps.formats import Source
from builder.verbs.build import BuiltImage, build
from builder.verbs.export import Exported, export_image
from tests.compare.world import EPOCH, ESP_TYPE, ROOT_TYPE, World, portable, sections


@dataclass
class Small:
    """The small image, and the forms that tests have asked for so far."""

    workbench: Workbench
    toolbox: Toolbox
    image: BuiltImage
    output: Path
    made: dict[Form, Exported] = field(default_factory=dict)

    def form(self, form: Form) -> Path:
        """The folder with one form; nobody changes it."""
        if form not in self.made:
            self.made[form] = self.again(form, self.output)
        return self.made[form].folder

    def again(self, form: Form, output: Path) -> Exported:
        return export_image(self.workbench, self.toolbox, self.image.folder, form, output)


@pytest.fixture(scope="session")
def small(small_project: Project, cache: Cache, toolbox: Toolbox, tmp_path_factory: pytest.TempPathFactory) -> Small:
    if os.geteuid() != 0:
        pytest.skip("building needs root")
    workbench = Workbench(small_project, cache)
    return Small(workbench, toolbox, build(workbench, "small"), tmp_path_factory.mktemp("exported"))


@pytest.fixture
def workbench(tmp_path: Path) -> Workbench:
    """A project and a cache of this test's own."""
    return Workbench(Project(tmp_path / "project"), Cache(tmp_path / "cache"))


@pytest.fixture
def world(tmp_path: Path, toolbox: Toolbox) -> World:
    return World(tmp_path, toolbox)


TinyImage = Callable[[Path], Path]


@pytest.fixture
def tiny(world: World) -> TinyImage:
    """Makes an image folder around a file system for the root partition."""

    def make(root: Path) -> Path:
        folder = world.folder / "image"
        folder.mkdir()
        (folder / "image.efi").write_bytes(portable(sections()))
        parts = [(ESP_TYPE, "esp", folder / "image.efi"), (ROOT_TYPE, "root", root)]
        world.disk("disk", parts).rename(folder / "image.raw")
        (folder / "manifest.json").write_text(_manifest(folder).text())
        return folder

    return make


def _manifest(folder: Path) -> Manifest:
    files = {name: folder / name for name in ("image.raw", "image.efi")}
    return Manifest(
        profile="tiny",
        architecture="amd64",
        hostname="tiny",
        lock="1" * 64,
        image="2" * 64,
        source_date_epoch=EPOCH,
        overlays=(),
        options={},
        ports=(22, 443),
        root_filesystem="ext4",
        kernel="6.12-tiny",
        tools={},
        packages=(),
        wheels=(),
        artefacts={name: Artefact(size=path.stat().st_size, sha256=digest_file(path)) for name, path in files.items()},
    )


@pytest.fixture
def source(tiny: TinyImage, toolbox: Toolbox, tmp_path: Path) -> Callable[[Path], Source]:
    """What a form is made from, of a tiny image around a root file system."""

    def make(root: Path) -> Source:
        scratch = tmp_path / "scratch"
        scratch.mkdir()
        folder = tiny(root)
        return Source(folder, _manifest(folder), toolbox, Runner(), scratch)

    return make


def checked(folder: Path) -> None:
    """The folder's checksums hold, and cover all of it."""
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=folder, check=True)
    listed = {line.split()[1] for line in (folder / "SHA256SUMS").read_text().splitlines()}
    assert listed == {path.name for path in folder.iterdir()} - {"SHA256SUMS"}
