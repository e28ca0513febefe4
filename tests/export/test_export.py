"""The verb: forms are the same each time, whole or not there, and only of whole images."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from builder.cli.main import run
from builder.data.form import Form
from builder.foundation.errors import LichenError
from builder.foundation.process import ProcessError, Runner
from builder.foundation.toolbox import Toolbox
from builder.foundation.workbench import Workbench
from builder.verbs.export import export_image
from tests.compare.world import FILES, World
from tests.export.conftest import Small, TinyImage

FORMS: tuple[Form, ...] = ("raw", "qcow2", "oci", "netboot")


@pytest.mark.parametrize("form", FORMS)
def test_form_is_the_same_on_one_processor(small: Small, form: Form, tmp_path: Path) -> None:
    first = small.form(form)
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        second = small.again(form, tmp_path).folder
    finally:
        os.sched_setaffinity(0, allowed)
    assert second.name == first.name == f"{small.image.folder.name}.{form}"
    assert (second / "SHA256SUMS").read_text() == (first / "SHA256SUMS").read_text()


@pytest.fixture
def image(world: World, tiny: TinyImage) -> Path:
    return tiny(world.ext4("root", world.tree("tree", FILES)))


def test_command_tells_where_it_is(small: Small, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["export", "small", "--format", "raw", "--output", str(tmp_path), "--json"]
    assert run([*words, "--project", str(small.workbench.project.root)]) == 0
    told = json.loads(capsys.readouterr().out)
    folder = tmp_path / f"{small.image.folder.name}.raw"
    assert told == {
        "folder": str(folder),
        "format": "raw",
        "files": {"image.raw.zst": (folder / "image.raw.zst").stat().st_size},
    }
    assert sorted(tmp_path.iterdir()) == [folder]


def test_changed_image_is_refused(workbench: Workbench, toolbox: Toolbox, image: Path) -> None:
    with (image / "image.raw").open("r+b") as stream:
        stream.seek(1 << 20)
        stream.write(b"x")
    with pytest.raises(LichenError, match="the image was changed"):
        export_image(workbench, toolbox, image, "raw")
    assert not image.with_name("image.raw").exists()


def test_failure_leaves_the_earlier_result(workbench: Workbench, toolbox: Toolbox, image: Path) -> None:
    folder = export_image(workbench, toolbox, image, "oci").folder
    before = (folder / "image.oci.tar").read_bytes()

    class Failing(Runner):
        def fed(self, argv, **more):  # type: ignore[no-untyped-def]
            return super().fed([*argv[:-1], "/nowhere/layer"], **more)

    broken = replace(workbench, runner=Failing())
    with pytest.raises(ProcessError, match="nowhere"):
        export_image(broken, toolbox, image, "oci")
    assert (folder / "image.oci.tar").read_bytes() == before
    assert sorted(path.name for path in folder.parent.iterdir() if path.name.startswith(".")) == []


def test_process_is_fed_to_its_end(tmp_path: Path) -> None:
    with Runner().fed(["sh", "-c", f"cat > '{tmp_path}/copy'"]) as stream:
        stream.write(b"x" * (1 << 20))
    assert (tmp_path / "copy").read_bytes() == b"x" * (1 << 20)


def feed(*words: str) -> None:
    """Write to a process without end."""
    with Runner().fed(words) as stream:
        while True:
            stream.write(bytes(1 << 20))


def test_process_that_fails_while_it_is_fed_tells_why() -> None:
    with pytest.raises(ProcessError, match="enough"):
        feed("sh", "-c", "echo enough >&2; exit 3")


def test_process_that_stops_reading_has_not_done_its_work() -> None:
    with pytest.raises(BrokenPipeError):
        feed("true")


def test_block_that_fails_ends_the_process() -> None:
    with pytest.raises(KeyError), Runner().fed(["sleep", "1000"]):
        raise KeyError
