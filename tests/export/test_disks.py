"""The packed disk is the disk, byte for byte; QEMU's form of it boots."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from builder.foundation.digest import digest_file
from builder.foundation.process import Runner
from builder.steps.machine import Machine, MachineSpec
from builder.verbs.boot import Request, acceleration, specify
from tests.export.conftest import Small, checked


@pytest.fixture
def disk(small: Small, tmp_path: Path) -> Path:
    """What a real disk holds after writing."""
    folder = small.form("raw")
    checked(folder)
    words = ["zstd", "-q", "-d", "--sparse", str(folder / "image.raw.zst"), "-o", str(tmp_path / "disk")]
    Runner().run(small.toolbox.command(words, readable=[folder], writable=[tmp_path]))
    return tmp_path / "disk"


def test_raw_unpacks_to_the_disk(small: Small, disk: Path) -> None:
    assert digest_file(disk) == small.image.manifest.artefacts["image.raw"].sha256
    state = disk.stat()
    assert state.st_blocks * 512 < state.st_size / 2
    assert (small.form("raw") / "image.raw.zst").stat().st_size < state.st_blocks * 512


@pytest.mark.long
def test_raw_boots_and_finds_what_was_laid_on_its_first_partition(small: Small, disk: Path, tmp_path: Path) -> None:
    """A real machine has nobody who hands credentials in; docs/running.md tells how to lay them on the disk."""
    (tmp_path / "told").write_text("f /run/told - - - - on the disk\n")
    script = (
        f"cd '{tmp_path}'; systemd-creds encrypt --with-key=null --name=tmpfiles.extra told told.cred; "
        "mmd -i disk@@1M ::/loader ::/loader/credentials; "
        "mcopy -i disk@@1M told.cred ::/loader/credentials/tmpfiles.extra.cred"
    )
    Runner().run(small.toolbox.command(["sh", "-euc", script], writable=[tmp_path]))
    kind = acceleration(small.workbench, small.toolbox, "amd64", None).kind
    with Machine(small.toolbox, MachineSpec(disk, kind, memory=2048), tmp_path / "machine") as machine:
        machine.wait_for_ssh()
        assert machine.run("cat /run/told").stdout == "on the disk"


def test_qcow2_is_the_disk(small: Small) -> None:
    folder, image = small.form("qcow2"), small.image.folder
    checked(folder)
    made = str(folder / "image.qcow2")
    compare = ["qemu-img", "compare", "-f", "raw", "-F", "qcow2", str(image / "image.raw"), made]
    for words in (["qemu-img", "check", "-q", "-f", "qcow2", made], compare):
        Runner().run(small.toolbox.command(words, readable=[folder, image]))


@pytest.mark.long
def test_qcow2_boots(small: Small, tmp_path: Path) -> None:
    # A machine goes on with the disk that lies in its folder.
    shutil.copyfile(small.form("qcow2") / "image.qcow2", tmp_path / "disk.qcow2")
    kind = acceleration(small.workbench, small.toolbox, "amd64", None).kind
    spec = specify(small.image.folder, small.image.manifest, Request(memory=2048), kind)
    with Machine(small.toolbox, spec, tmp_path) as machine:
        machine.wait_for_ssh()
        assert machine.run("findmnt --noheadings --output FSTYPE /").stdout.strip() == "ext4"
        machine.shutdown()
