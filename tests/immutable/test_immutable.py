"""An immutable image: nothing changes its root, a machine keeps what it writes, a factory reset takes that away."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from builder.data.layout import STATE_LABEL, WRITABLE
from builder.foundation.place import Cache, Project
from builder.foundation.workbench import Workbench
from builder.steps.machine import Machine
from builder.verbs.boot import Request, specify
from builder.verbs.build import BuiltImage, build, provide_toolbox
from builder.verbs.lock import lock
from tests.conftest import REPOSITORY, SMALL_PROFILE

NAME = "sealed"
GROWN = 1 << 30
STATE = 512 << 20  # bytes, the profile's default
# Written on one boot, looked for on the next.
NOTES = [f"/{folder}/note" for folder in WRITABLE]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, cache: Cache) -> Project:
    """A project with the small image, its layout immutable."""
    project = Project(tmp_path_factory.mktemp(NAME))
    project.profiles.mkdir()
    for overlay in ("base-system", "ssh"):
        shutil.copytree(REPOSITORY.overlays / overlay, project.overlays / overlay, symlinks=True)
    text = SMALL_PROFILE.replace("hostname: small, root_size: 1536M", f"hostname: {NAME}, layout: immutable")
    (project.profiles / f"{NAME}.yaml").write_text(text)
    lock(Workbench(project, cache), NAME, accept_expired=frozenset({"forky"}))
    return project


@pytest.fixture(scope="module")
def image(project: Project, cache: Cache) -> BuiltImage:
    if os.geteuid() != 0:
        pytest.skip("building needs root")
    return build(Workbench(project, cache), NAME)


@contextmanager
def booted(project: Project, cache: Cache, image: BuiltImage, folder: Path) -> Iterator[Machine]:
    """The machine that lives in ``folder``: with the disk that it had the last time, if there was one."""
    toolbox = provide_toolbox(Workbench(project, cache), NAME)
    spec = specify(image.folder, image.manifest, Request(grow=GROWN), "tcg")
    with Machine(toolbox, spec, folder, keep=True) as machine:
        machine.wait_for_ssh()
        assert machine.wait_booted() == "running", machine.complaints()
        yield machine


@pytest.mark.long
def test_machine_writes_beside_the_image_until_a_factory_reset(
    project: Project, cache: Cache, image: BuiltImage, tmp_path: Path
) -> None:
    assert (image.manifest.layout, image.manifest.root_filesystem) == ("immutable", "erofs")
    folder = tmp_path / "machine"
    with booted(project, cache, image, folder) as machine:
        root_is_sealed(machine)
        state_has_grown(machine)
        for note in NOTES:
            machine.run(f"echo kept > {note}")
        identity = told(machine)
        machine.shutdown()
    with booted(project, cache, image, folder) as machine:
        assert told(machine) == identity
        assert machine.run(f"cat {' '.join(NOTES)}").stdout.split() == ["kept"] * len(NOTES)
        machine.run("systemctl start factory-reset.target", check=False)
        # A machine of ours ends where another restarts.
        machine.shutdown()
    with booted(project, cache, image, folder) as machine:
        assert machine.run(f"ls {' '.join(NOTES)}", check=False).stdout == ""
        assert {*told(machine)}.isdisjoint(identity)
        assert machine.run("ls /sys/firmware/efi/efivars/FactoryReset-*", check=False).stdout == ""
        state_has_grown(machine)
        kernel_refuses_a_flipped_byte(machine)


def root_is_sealed(machine: Machine) -> None:
    for path in ("/note", "/usr/bin/note", "/opt/note"):
        assert "Read-only file system" in machine.run(f"touch {path}", check=False).stderr
    assert machine.run("findmnt -n -o SOURCE,FSTYPE /").stdout.split() == ["/dev/mapper/root", "erofs"]
    assert "roothash=" in machine.run("cat /proc/cmdline").stdout
    assert machine.run("stat -c %a /root /home /srv /var /etc").stdout.split() == ["700", "755", "755", "755", "755"]


def state_has_grown(machine: Machine) -> None:
    """The partition, and the file system in it, take what the disk has more than the image."""
    partition = int(machine.run(f"blockdev --getsize64 /dev/disk/by-partlabel/{STATE_LABEL}").stdout)
    assert STATE + GROWN - (4 << 20) <= partition <= STATE + GROWN
    usable = int(machine.run("findmnt --bytes -n -o SIZE /state").stdout)
    assert usable > (STATE + GROWN) * 0.9


def told(machine: Machine) -> list[str]:
    """What no two machines have in common."""
    return machine.run("cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub").stdout.split()[0::2]


def kernel_refuses_a_flipped_byte(machine: Machine) -> None:
    """Another program, or a thief with the disk, changes the partition below the root file system."""
    last = (
        "root=/dev/$(basename $(readlink -f /sys/dev/block/$(findmnt -n -o MAJ:MIN /))); "
        "last=$(($(blockdev --getsize64 $root) / 4096 - 1)); "
    )
    read = last + "dd if=$root of=/dev/null bs=4096 count=1 skip=$last iflag=direct"
    assert machine.run(read, check=False).returncode == 0
    machine.run(
        last + "part=/dev/$(lsblk -n -l -o KNAME,PARTTYPENAME | awk '/Linux root/ && !/verity/ { print $1 }'); "
        "dd if=$part of=/run/block bs=4096 count=1 skip=$last iflag=direct; "
        r"head -c 1 /run/block | tr '\000-\377' '\001-\377\000' | dd of=/run/block conv=notrunc; "
        "dd if=/run/block of=$part bs=4096 count=1 seek=$last oflag=direct conv=notrunc"
    )
    refused = machine.run(read, check=False)
    assert refused.returncode != 0
    assert "Input/output error" in refused.stderr
    assert "data block" in machine.run("dmesg | grep verity").stdout
