"""Firmware loads one file over HTTP, and the machine runs from memory."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from builder.foundation.errors import InputError
from builder.foundation.inside.blob import Blob
from builder.foundation.inside.portable import read_portable
from builder.steps.formats import Source, write_netboot
from builder.steps.machine import HARDWARE, Machine, MachineSpec
from builder.verbs.boot import acceleration
from tests.compare.world import FILES, World
from tests.export.conftest import Small, checked
from tests.export.firmware import booting_from


@contextmanager
def served(folder: Path) -> Iterator[tuple[int, list[str]]]:
    """A web server on loopback for the files of a folder: its port, and what it is asked."""
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: object) -> None:
            asked.append(format % arguments)

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port, asked
        finally:
            server.shutdown()
            thread.join()


def test_program_holds_what_the_image_starts_with(small: Small) -> None:
    own = read_portable(Blob.of_file(small.image.folder / "image.efi")).sections
    made = read_portable(Blob.of_file(small.form("netboot") / "image.efi")).sections
    assert made.keys() == own.keys()
    for name in own.keys() - {".initrd", ".cmdline", ".sbat"}:
        assert made[name].digest() == own[name].digest(), name
    assert made[".uname"].read().decode() == small.image.manifest.kernel
    assert made[".initrd"].slice(0, own[".initrd"].size).digest() == own[".initrd"].digest()
    assert made[".cmdline"].read().decode().strip("\0").endswith(" rootfstype=ramfs systemd.volatile=overlay")


@pytest.mark.long
def test_machine_boots_over_http_and_runs_from_memory(small: Small, tmp_path: Path) -> None:
    folder = small.form("netboot")
    checked(folder)
    machine_folder, nothing = tmp_path / "machine", tmp_path / "nothing"
    machine_folder.mkdir()
    nothing.write_bytes(bytes(1 << 20))  # the machine's only disk
    kind = acceleration(small.workbench, small.toolbox, "amd64", None).kind
    variables = small.toolbox.tree / HARDWARE["amd64"].variables.lstrip("/")
    with served(folder) as (port, asked):
        # 10.0.2.2 is this machine, as a guest of QEMU's user networking sees it.
        store = booting_from(variables.read_bytes(), f"http://10.0.2.2:{port}/image.efi")
        (machine_folder / "firmware.vars").write_bytes(store)
        with Machine(small.toolbox, MachineSpec(nothing, kind, memory=2048), machine_folder) as machine:
            machine.wait_for_ssh()
            assert machine.wait_booted() == "running", machine.complaints()
            assert machine.run("findmnt --noheadings --output FSTYPE /").stdout.strip() == "overlay"
            assert machine.run("lsblk --noheadings --nodeps --output SERIAL /dev/vda").stdout.strip() == "lichen-root"
            assert machine.run("lsblk --noheadings --output MOUNTPOINTS /dev/vda").stdout.strip() == ""
            assert machine.run("uname -r").stdout.strip() == small.image.manifest.kernel
            assert machine.run("dpkg --audit").stdout == ""
            machine.run("touch /etc/written /usr/written")
            machine.shutdown()
    assert any('"GET /image.efi HTTP/1.1" 200' in line for line in asked)


def test_kernel_without_erofs_is_told(world: World, source: Callable[[Path], Source], tmp_path: Path) -> None:
    made = source(world.ext4("root", world.tree("tree", FILES)))
    (made.folder / "kernel.config").write_text("CONFIG_OVERLAY_FS=m\n# CONFIG_EROFS_FS is not set\n")
    with pytest.raises(InputError, match="has no EROFS_FS, EROFS_FS_BACKED_BY_FILE, ") as error:
        write_netboot(made, tmp_path)
    assert "`verity`" in error.value.problems[0].remedy
