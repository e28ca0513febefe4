"""Machines for people: in the background until they are stopped, or on a terminal."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from builder.data.manifest import Manifest
from builder.foundation.errors import InputError, LichenError
from builder.foundation.toolbox import Toolbox
from builder.foundation.workbench import Workbench
from builder.steps.machine.guest import wait_until
from builder.steps.machine.monitor import owner
from builder.verbs.boot import Request, acceleration, boot_console, boot_daemon, running_machines, stop
from tests.conftest import ended
from tests.machine import tinyguest
from tests.machine.conftest import MakeGuest

PATIENCE = 120.0
REQUEST = Request(kind="tcg", memory=256, cpus=1)


@pytest.fixture
def image(make_guest: MakeGuest, manifest: Manifest) -> Path:
    """An image folder whose guest obeys its power button."""
    folder = make_guest("listening\r\n", tinyguest.OBEY_BUTTON).image.parent
    (folder / "manifest.json").write_text(manifest.text())
    return folder


def test_daemon_runs_until_it_is_stopped(toolbox: Toolbox, workbench: Workbench, image: Path) -> None:
    running = boot_daemon(workbench, toolbox, image, REQUEST)
    try:
        assert running_machines(workbench.cache) == ["tiny"]
        assert set(running.ports) == {22, 443}
        assert int(running.pid_file.read_text()) == owner(running.pid_file)
        assert f"Port {running.ports[22]}" in (running.folder / "ssh_config").read_text()
        assert json.loads(json.dumps(running.as_dict()))["ssh"] == running.ssh
        with pytest.raises(InputError, match="runs already"):
            boot_daemon(workbench, toolbox, image, REQUEST)
        assert running_machines(workbench.cache) == ["tiny"]
        assert wait_until(lambda: "listening" in running.console_log.read_text(), PATIENCE)
    finally:
        clean = stop(workbench, "tiny")
    assert clean
    assert running_machines(workbench.cache) == []
    assert "listening" in running.console_log.read_text()
    assert not (running.folder / "id_ed25519").exists()


def test_guest_that_ignores_its_power_button_is_ended_by_force(
    toolbox: Toolbox, workbench: Workbench, image: Path, make_guest: MakeGuest
) -> None:
    make_guest("deaf\r\n")  # in place of the polite one
    running = boot_daemon(workbench, toolbox, image, REQUEST)
    pid = int(running.pid_file.read_text())
    assert not stop(workbench, "tiny", timeout=1)
    assert running_machines(workbench.cache) == []
    assert wait_until(lambda: ended(pid), PATIENCE)


def test_crashed_machine_is_not_in_the_way(toolbox: Toolbox, workbench: Workbench, image: Path) -> None:
    pid = int(boot_daemon(workbench, toolbox, image, REQUEST).pid_file.read_text())
    os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: not running_machines(workbench.cache), PATIENCE)
    with pytest.raises(InputError, match="no such machine runs"):
        stop(workbench, "tiny")
    boot_daemon(workbench, toolbox, image, REQUEST)
    assert stop(workbench, "tiny", timeout=0) in (True, False)
    assert running_machines(workbench.cache) == []


def test_failed_start_leaves_no_machine(toolbox: Toolbox, workbench: Workbench, image: Path) -> None:
    with pytest.raises(LichenError, match="QEMU did not start"):
        boot_daemon(workbench, toolbox, image, Request(kind="tcg", memory=256, cpus=100_000))
    folder = workbench.cache.root / "machines" / "tiny"
    assert sorted(path.name for path in folder.iterdir()) == ["console.log", "lock", "qemu.log"]


def test_console_lasts_until_control_a_x(toolbox: Toolbox, workbench: Workbench, image: Path) -> None:
    keyboard, typist = os.pipe()
    reader, screen = os.pipe()
    os.write(typist, b"\x01x")
    boot_console(workbench, toolbox, image, REQUEST, keyboard=keyboard, screen=screen)
    assert b"QEMU: Terminated" in os.read(reader, 1 << 16)
    assert running_machines(workbench.cache) == []


def test_acceleration_that_was_asked_for_must_run_a_guest(toolbox: Toolbox, workbench: Workbench, image: Path) -> None:
    try:
        running = boot_daemon(workbench, toolbox, image, Request(kind="kvm", memory=256, cpus=1))
    except LichenError as error:
        (problem,) = error.problems
        assert problem.what == "KVM was asked for and runs no guest here"
        assert problem.why == acceleration(workbench, toolbox, "amd64", None).reason
        assert running_machines(workbench.cache) == []
    else:
        assert running.acceleration.kind == "kvm"
        stop(workbench, "tiny", timeout=1)


@pytest.mark.parametrize("name", ["../up", "", "A", "x" * 65])
def test_name_that_is_no_folder_is_refused(workbench: Workbench, name: str) -> None:
    with pytest.raises(InputError, match="not a name for a machine"):
        stop(workbench, name)


def test_folder_without_manifest_is_no_image(workbench: Workbench, toolbox: Toolbox, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a complete image folder"):
        boot_daemon(workbench, toolbox, tmp_path, REQUEST)
