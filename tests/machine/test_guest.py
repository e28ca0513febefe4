"""Real machines, tiny guests: whatever happens is told, and nothing is left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.foundation.digest import digest_file
from builder.foundation.errors import GuestTestError, InputError, LichenError
from builder.foundation.process import Runner
from builder.foundation.toolbox import Toolbox
from builder.steps.machine import Machine, MachineSpec
from builder.steps.machine.guest import wait_until
from builder.steps.machine.monitor import owner
from tests.conftest import ended
from tests.machine import tinyguest
from tests.machine.conftest import MakeGuest

PATIENCE = 120.0
PANIC = "[    3.2] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\r\n"


def failure(toolbox: Toolbox, spec: MachineSpec, folder: Path, timeout: float = PATIENCE) -> str:
    with pytest.raises(GuestTestError) as caught, Machine(toolbox, spec, folder) as machine:
        machine.wait_for_ssh(timeout)
    (problem,) = caught.value.problems
    assert problem.where == str(folder / "console.log")
    assert problem.remedy
    return f"{problem.what}\n{problem.why}"


def test_panic_is_seen_at_once(toolbox: Toolbox, make_guest: MakeGuest, tmp_path: Path) -> None:
    # Far more patience than the test has: only detection ends the wait.
    said = failure(toolbox, make_guest(PANIC), tmp_path / "m", timeout=100_000)
    assert "kernel panicked" in said
    assert "Unable to mount root fs" in said


def test_disk_without_boot_loader_ends_in_the_firmware(toolbox: Toolbox, tmp_path: Path) -> None:
    image = tmp_path / "empty.raw"
    image.write_bytes(bytes(1 << 20))
    said = failure(toolbox, MachineSpec(image, "tcg", memory=256), tmp_path / "m", timeout=100_000)
    assert "nothing to boot" in said


def test_guest_that_never_answers_times_out_with_its_last_words(
    toolbox: Toolbox, make_guest: MakeGuest, tmp_path: Path
) -> None:
    said = failure(toolbox, make_guest("waiting for godot\r\n"), tmp_path / "m", timeout=15)
    assert "did not boot within 15 s: it never answered on SSH" in said
    assert "waiting for godot" in said


def test_guest_that_switches_itself_off_is_noticed(toolbox: Toolbox, make_guest: MakeGuest, tmp_path: Path) -> None:
    said = failure(toolbox, make_guest("goodbye\r\n", tinyguest.POWER_OFF), tmp_path / "m", timeout=100_000)
    assert "ended by itself" in said
    assert "goodbye" in said


def test_image_stays_and_only_logs_are_left(toolbox: Toolbox, make_guest: MakeGuest, tmp_path: Path) -> None:
    spec = make_guest("up\r\n", tinyguest.OBEY_BUTTON, grow=1 << 30, forwards={443: 0}, credentials={"a": "b"})
    before = digest_file(spec.image)
    with Machine(toolbox, spec, tmp_path / "m") as machine:
        assert set(machine.ports) == {22, 443}
        assert (machine.folder / "id_ed25519").stat().st_mode & 0o077 == 0
        assert wait_until(lambda: "up" in machine.console_text(), PATIENCE)
        machine.shutdown()
        assert not machine.running()
    assert digest_file(spec.image) == before
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == ["console.log", "qemu.log"]


def test_guest_that_ignores_the_power_button_is_told(toolbox: Toolbox, make_guest: MakeGuest, tmp_path: Path) -> None:
    with Machine(toolbox, make_guest("deaf\r\n"), tmp_path / "m") as machine:
        assert wait_until(lambda: "deaf" in machine.console_text(), PATIENCE)
        with pytest.raises(GuestTestError, match="did not power off within 2 s"):
            machine.shutdown(timeout=2)
    assert not machine.running()


def test_kept_machine_boots_its_own_disk_again(toolbox: Toolbox, make_guest: MakeGuest, tmp_path: Path) -> None:
    spec = make_guest("again\r\n", tinyguest.OBEY_BUTTON)
    with Machine(toolbox, spec, tmp_path / "m", keep=True) as machine:
        wait_until(lambda: "again" in machine.console_text(), PATIENCE)
        key = (machine.folder / "id_ed25519.pub").read_text()
    disk = (tmp_path / "m" / "disk.qcow2").stat().st_ino
    with Machine(toolbox, spec, tmp_path / "m") as machine:
        assert "again" not in machine.console_text()  # the first boot's words do not count
        assert (machine.folder / "disk.qcow2").stat().st_ino == disk
        assert (machine.folder / "id_ed25519.pub").read_text() == key


def test_data_disk_is_made_and_not_shared(toolbox: Toolbox, make_guest: MakeGuest, tmp_path: Path) -> None:
    spec = make_guest("hello\r\n", data_disk=tmp_path / "data, with comma.raw", data_size=1 << 20)
    with Machine(toolbox, spec, tmp_path / "one"):
        assert (tmp_path / "data, with comma.raw").stat().st_size == 1 << 20
        with pytest.raises(LichenError, match='Failed to get "write" lock'), Machine(toolbox, spec, tmp_path / "two"):
            pass
    assert (tmp_path / "data, with comma.raw").exists()


def test_taken_port_is_told_in_qemus_words(toolbox: Toolbox, make_guest: MakeGuest, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        spec = make_guest("hello\r\n", forwards={80: taken.getsockname()[1]})
        with pytest.raises(LichenError, match="host forwarding rule"), Machine(toolbox, spec, tmp_path / "m"):
            pass


def test_missing_image_is_told(toolbox: Toolbox, tmp_path: Path) -> None:
    with (
        pytest.raises(GuestTestError, match="no disk image"),
        Machine(toolbox, MachineSpec(tmp_path / "no.raw", "tcg"), tmp_path / "m"),
    ):
        pass


def test_unknown_architecture_is_told(toolbox: Toolbox, make_guest: MakeGuest, tmp_path: Path) -> None:
    spec = make_guest("", architecture="pdp11")
    with pytest.raises(InputError, match="cannot boot pdp11"), Machine(toolbox, spec, tmp_path / "m"):
        pass


def test_folder_may_be_deeper_than_a_socket_address(toolbox: Toolbox, make_guest: MakeGuest, tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 100) / "m"
    with Machine(toolbox, make_guest("deep\r\n"), folder) as machine:
        assert machine.ports[22]
        assert len(str(folder / "qmp.sock")) > 108


PARENT = """
import sys, time
from pathlib import Path
from builder.foundation.toolbox import Toolbox
from builder.steps.machine import Machine, MachineSpec
tree, mkosi, image, folder = map(Path, sys.argv[1:])
with Machine(Toolbox(tree, mkosi), MachineSpec(image, "tcg", memory=256), folder):
    print("up", flush=True)
    time.sleep(1000)
"""


@contextlib.contextmanager
def parent_of_machine(toolbox: Toolbox, spec: MachineSpec, folder: Path) -> Iterator[int]:
    """Another process that holds a machine in ``folder``."""
    argv = [sys.executable, "-c", PARENT, toolbox.tree, toolbox.mkosi, spec.image, folder]
    with Runner().started([str(word) for word in argv]) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"up\n"
        yield parent.pid
        parent.wait(PATIENCE)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_qemu_outlives_its_parent(
    toolbox: Toolbox, make_guest: MakeGuest, tmp_path: Path, number: signal.Signals
) -> None:
    spec = make_guest("hello\r\n")
    with parent_of_machine(toolbox, spec, tmp_path / "m") as parent:
        qemu = owner(tmp_path / "m" / "pid")
        assert qemu is not None
        assert "qemu" in Path(f"/proc/{qemu}/cmdline").read_text()
        os.kill(parent, number)
    if not wait_until(lambda: ended(qemu), PATIENCE):
        os.kill(qemu, signal.SIGKILL)  # this test's fault, not for others to bear
        pytest.fail(f"QEMU outlived its parent after {number.name}")
    # What the killed one left does not disturb the next.
    with Machine(toolbox, spec, tmp_path / "m") as machine:
        assert machine.running()


def test_terminal_talks_to_the_guest_until_it_isended(toolbox: Toolbox, make_guest: MakeGuest, tmp_path: Path) -> None:
    keyboard, typist = os.pipe()
    reader, screen = os.pipe()
    seen = bytearray()

    def watch() -> None:
        while data := os.read(reader, 4096):
            seen.extend(data)

    def type_keys() -> None:
        wait_until(lambda: b"ready" in seen, PATIENCE)
        os.write(typist, b"knock knock")
        wait_until(lambda: b"knock knock" in seen, PATIENCE)
        os.write(typist, b"\x01x")  # control-A x

    threads = [threading.Thread(target=work, daemon=True) for work in (watch, type_keys)]
    with Machine(toolbox, make_guest("ready\r\n", tinyguest.ECHO), tmp_path / "m") as machine:
        for thread in threads:
            thread.start()
        machine.console(keyboard, screen)
        assert wait_until(lambda: not machine.running(), PATIENCE)
    os.close(screen)
    threads[0].join(PATIENCE)
    assert b"knock knock" in seen
    assert b"ready" in (tmp_path / "m" / "console.log").read_bytes()
