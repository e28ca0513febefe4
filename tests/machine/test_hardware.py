"""QEMU's command line, without QEMU."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest

from builder.foundation.errors import InputError
from builder.steps.machine import HARDWARE, MachineSpec
from builder.steps.machine.hardware import (
    INSIDE,
    SLOW,
    SMBIOS_LIMIT,
    VIRTUAL_TIME,
    credential_device,
    credential_file,
    credentials,
    qemu,
)
from builder.steps.machine.monitor import forwards
from builder.steps.machine.secureshell import config_text

IMAGE = Path("/images/a,b/image.raw")


def words(spec: MachineSpec, *, daemon: bool = False) -> str:
    return " ".join(qemu(spec, daemon=daemon))


def test_emulation_and_kvm_differ_in_processor_and_patience_only() -> None:
    tcg, kvm = words(MachineSpec(IMAGE, "tcg")), words(MachineSpec(IMAGE, "kvm"))
    assert "-accel tcg,thread=multi -cpu max" in tcg
    slow = f" -smbios type=11,value=io.systemd.stub.kernel-cmdline-extra={SLOW}"
    assert slow in tcg
    assert kvm == tcg.replace("-accel tcg,thread=multi -cpu max", "-accel kvm -cpu host").replace(slow, "")


def test_virtual_time_counts_instructions_on_one_thread() -> None:
    plain, virtual = words(MachineSpec(IMAGE, "tcg")), words(MachineSpec(IMAGE, "tcg", virtual_time=True))
    option = f" {' '.join(VIRTUAL_TIME)}"
    assert option in virtual
    assert plain == virtual.replace("tcg,thread=single", "tcg,thread=multi").replace(option, "")


def test_virtual_time_needs_emulation() -> None:
    with pytest.raises(InputError, match="no virtual time with kvm"):
        words(MachineSpec(IMAGE, "kvm", virtual_time=True))


@pytest.mark.parametrize("architecture", HARDWARE)
def test_machine_is_of_the_images_architecture(architecture: str) -> None:
    """Firmware of the same, its variables in the machine's own folder; everything else as for any other."""
    line = words(MachineSpec(IMAGE, "tcg", architecture=architecture))
    row = HARDWARE[architecture]
    assert line.startswith(f"setpriv --pdeathsig KILL {row.qemu} -nodefaults ")
    assert row.qemu == f"qemu-system-{row.host}"
    assert f"-machine {row.machine} -accel tcg" in line
    assert f"unit=0,readonly=on,file={row.code} " in line
    assert f"unit=1,file={INSIDE}/firmware.vars " in line
    for device in ("virtio-blk-pci", "virtio-net-pci", "virtio-rng-pci", "i6300esb"):
        assert f"-device {device}" in line


def test_machine_dies_with_its_parent_and_a_daemon_does_not() -> None:
    spec = MachineSpec(IMAGE, "tcg")
    assert words(spec).startswith("setpriv --pdeathsig KILL qemu-system-x86_64 ")
    assert words(spec, daemon=True).startswith("qemu-system-x86_64 ")
    assert words(spec, daemon=True).endswith(" -daemonize")


def test_ports_listen_on_loopback_only_and_ssh_always() -> None:
    line = words(MachineSpec(IMAGE, "tcg", forwards={443: 8443}))
    assert re.findall(r"hostfwd=([^, ]*)", line) == ["tcp:127.0.0.1:0-:22", "tcp:127.0.0.1:8443-:443"]


def test_restart_ends_the_machine_unless_wanted() -> None:
    assert "-no-reboot" in words(MachineSpec(IMAGE, "tcg"))
    assert "-no-reboot" not in words(MachineSpec(IMAGE, "tcg", reboot=True))


def test_data_disk_keeps_its_comma_and_serial() -> None:
    line = words(MachineSpec(IMAGE, "tcg", data_disk=Path("/d/a,b.raw")))
    assert "file=/d/a,,b.raw " in line
    assert "serial=lichen-data" in line


def test_secrets_stay_off_the_command_line() -> None:
    line = words(MachineSpec(IMAGE, "tcg", credentials={"small": "hunter2", "big": "hunter3" * SMBIOS_LIMIT}))
    assert "hunter" not in line
    assert base64.b64encode(b"hunter2").decode() not in line
    assert "-smbios type=11,path=/run/machine/credentials/small" in line
    assert "-fw_cfg name=opt/io.systemd.credentials/big,file=/run/machine/credentials/big" in line


@pytest.mark.parametrize("size", [0, 1, SMBIOS_LIMIT, SMBIOS_LIMIT + 1])
def test_device_and_file_of_a_credential_agree(size: int) -> None:
    value = bytes(size)
    content = credential_file("name", value)
    if credential_device("name", value)[0] == "-smbios":
        prefix, _, coded = content.decode().partition("=")
        assert prefix == "io.systemd.credential.binary:name"
        assert base64.b64decode(coded) == value
    else:
        assert content == value


@pytest.mark.parametrize("name", ["", "a,b", "a/b", "../a", "a b", ".hidden"])
def test_credential_name_that_breaks_out_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="not a name for a credential"):
        credentials(MachineSpec(IMAGE, "tcg", credentials={name: "x"}))


def test_large_credential_needs_a_short_name() -> None:
    spec = MachineSpec(IMAGE, "tcg", credentials={"n" * 29: "x" * (SMBIOS_LIMIT + 1)})
    with pytest.raises(InputError, match="too large for its name"):
        credentials(spec)


def test_firmware_and_program_stay_inside_the_tools_tree() -> None:
    for row in HARDWARE.values():
        assert row.code.startswith("/usr/")
        assert row.variables.startswith("/usr/")


def test_forwards_are_read_from_qemus_table() -> None:
    table = (
        "Hub -1 (net):\r\n  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n"
        "  TCP[HOST_FORWARD]  16       127.0.0.1 45523       10.0.2.15    22     0     0\r\n"
        "  TCP[ESTABLISHED]   17       127.0.0.1 40000       10.0.2.15    22     0     0\r\n"
        "  TCP[HOST_FORWARD]  15       127.0.0.1  8443       10.0.2.15   443     0     0\r\n"
    )
    assert forwards(table) == {22: 45523, 443: 8443}


def test_ssh_configuration_trusts_nothing_and_asks_nothing() -> None:
    text = config_text(Path("/a b/50%/id"), 2222, Path("/run/s"))
    assert 'IdentityFile "/a b/50%%/id"' in text
    for line in ("BatchMode yes", "IdentitiesOnly yes", "IdentityAgent none", "UserKnownHostsFile /dev/null"):
        assert line in text
