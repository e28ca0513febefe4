"""QEMU's command line: pure, from a :class:`MachineSpec` to words.

Inside the tools tree a machine's own folder is always :data:`INSIDE`, so that the paths of its sockets stay short
(108 bytes is the kernel's limit) and free of commas, which QEMU would read as the end of a value.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from builder.foundation.errors import InputError, Problem
from builder.steps.machine.monitor import POWER_KEY

Kind = Literal["kvm", "tcg"]
INSIDE = "/run/machine"
SSH_PORT = 22
AUTHORIZED_KEYS = "ssh.authorized_keys.root"
# SMBIOS tables are for small values; systemd reads larger ones from QEMU's firmware configuration device.
SMBIOS_LIMIT = 8 << 10
FW_CFG_PREFIX = "opt/io.systemd.credentials/"
FW_CFG_NAME_LIMIT = 55
# systemd gives up after 90 seconds, which an emulated machine on a busy host may take for a few of its own. Its boot
# stub adds this to the kernel's command line (systemd-stub(7)); nobody's machine but an emulated one hears it.
SLOW = "systemd.default_timeout_start_sec=600 systemd.default_device_timeout_sec=600"
# Eight nanoseconds an instruction, about as fast as the clock on the wall when processors are emulated. With sleep=on
# an idle guest waits as long as it would anyway, so its time stays close to that of whoever talks to it.
VIRTUAL_TIME = ("-icount", "shift=3,sleep=on")
CREDENTIAL_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Secure:
    """A computer whose firmware enforces Secure Boot, and keeps its variables from whatever it boots.

    Attributes:
        machine, code: as of :class:`Hardware`.
        options: further words for QEMU.
    """

    machine: str
    code: str
    options: tuple[str, ...]


@dataclass(frozen=True)
class Hardware:
    """What QEMU needs to be a computer of one architecture.

    Attributes:
        host: ``platform.machine()`` of hosts that could run it with KVM.
        qemu: program in the tools tree.
        machine: QEMU's machine type.
        code: UEFI firmware, read-only, in the tools tree.
        variables: template of the firmware's variables; every machine gets its own copy.
        answer: what the firmware prints when it is through with itself and looks for something to boot.
        console: the kernel's name for the serial console.
        power_key: whether the machine has no power button, and gets a keyboard for its power key instead.
        secure: what differs when Secure Boot is enforced; None where it cannot be.
    """

    host: str
    qemu: str
    machine: str
    code: str
    variables: str
    answer: bytes
    console: str
    power_key: bool = False
    secure: Secure | None = None


# One row per architecture that was really run.
HARDWARE: dict[str, Hardware] = {
    "amd64": Hardware(
        host="x86_64",
        qemu="qemu-system-x86_64",
        machine="q35,smm=off",
        code="/usr/share/OVMF/OVMF_CODE_4M.fd",
        variables="/usr/share/OVMF/OVMF_VARS_4M.fd",
        answer=b"BdsDxe",
        console="ttyS0",
        secure=Secure(
            machine="q35,smm=on",
            code="/usr/share/OVMF/OVMF_CODE_4M.secboot.fd",
            # Only firmware in system management mode may write to its flash (OvmfPkg/README, section SMM support).
            options=(
                *("-global", "driver=cfi.pflash01,property=secure,value=on"),
                *("-global", "ICH9-LPC.disable_s3=1"),
            ),
        ),
    ),
    "arm64": Hardware(
        host="aarch64",
        qemu="qemu-system-aarch64",
        machine="virt,gic-version=max",
        code="/usr/share/AAVMF/AAVMF_CODE.no-secboot.fd",
        variables="/usr/share/AAVMF/AAVMF_VARS.fd",
        answer=b"BdsDxe",
        console="ttyAMA0",
    ),
    "riscv64": Hardware(
        host="riscv64",
        qemu="qemu-system-riscv64",
        machine="virt,acpi=off",
        code="/usr/share/qemu-efi-riscv64/RISCV_VIRT_CODE.fd",
        variables="/usr/share/qemu-efi-riscv64/RISCV_VIRT_VARS.fd",
        answer=b"Press ESCAPE",
        console="ttyS0",
        power_key=True,
    ),
}


@dataclass(frozen=True)
class MachineSpec:
    """A machine to be: its disk, size, ports and credentials.

    Attributes:
        image: raw disk image, never written to.
        kind: how the CPU runs.
        memory: MiB.
        grow: bytes that the machine's disk is larger than the image.
        data_disk: file of a second disk with the serial ``lichen-data``; made when it is missing, kept afterwards.
        data_size: bytes of a data disk that has to be made.
        forwards: TCP port of the guest and the port of 127.0.0.1 that leads to it; 0 for any free one.
        credentials: systemd credentials that the guest finds at boot.
        reboot: let the guest restart; else a restart ends the machine.
        trusted: certificate in DER form that the firmware trusts, enforcing Secure Boot; None for firmware that boots
            anything.
        virtual_time: the guest's clock counts instructions, on one thread of the host: what it measures depends less on
            how busy the host is, though disks and idle processors still do. Emulated machines only.
    """

    image: Path
    kind: Kind
    architecture: str = "amd64"
    memory: int = 4096
    cpus: int = 2
    grow: int = 0
    data_disk: Path | None = None
    data_size: int = 4 << 30
    forwards: Mapping[int, int] = field(default_factory=dict)
    credentials: Mapping[str, str | bytes] = field(default_factory=dict)
    reboot: bool = False
    trusted: bytes | None = None
    virtual_time: bool = False

    @property
    def hardware(self) -> Hardware:
        """The row of :data:`HARDWARE`, with Secure Boot where it is asked for.

        Raises:
            InputError: the architecture has none yet, or no firmware for Secure Boot.
        """
        hardware = find_hardware(self.architecture)
        if self.trusted is None:
            return hardware
        if hardware.secure is None:
            known = ", ".join(name for name, item in HARDWARE.items() if item.secure)
            why = f"there is firmware for it for {known}"
            raise InputError(Problem(f"Secure Boot cannot be enforced on {self.architecture}", "", why))
        return replace(hardware, machine=hardware.secure.machine, code=hardware.secure.code)

    @property
    def options(self) -> tuple[str, ...]:
        """Further words for QEMU.

        Raises:
            InputError: virtual time on processors that are real.
        """
        if self.virtual_time and self.kind != "tcg":
            why = "only emulated processors have their instructions counted"
            raise InputError(Problem(f"no virtual time with {self.kind}", str(self.image), why, "use tcg"))
        secure = self.hardware.secure
        words = secure.options if secure and self.trusted is not None else ()
        return (*words, *VIRTUAL_TIME) if self.virtual_time else words


def find_hardware(architecture: str) -> Hardware:
    """The row of :data:`HARDWARE`.

    Raises:
        InputError: the architecture has none yet.
    """
    try:
        return HARDWARE[architecture]
    except KeyError:
        why = f"machines are known for {', '.join(sorted(HARDWARE))}"
        raise InputError(Problem(f"cannot boot {architecture} images yet", architecture, why)) from None


def firmware(hardware: Hardware) -> list[str]:
    """Firmware and the machine's own copy of its variables, ``firmware.vars``."""
    flash = "if=pflash,format=raw"
    return [
        *("-drive", f"{flash},unit=0,readonly=on,file={hardware.code}"),
        *("-drive", f"{flash},unit=1,file={INSIDE}/firmware.vars"),
    ]


def processor(hardware: Hardware, kind: Kind, *, threads: Literal["multi", "single"] = "multi") -> list[str]:
    """Machine type, CPU and how it runs; the guest gets every CPU feature that can be had."""
    accel, cpu = ("kvm", "host") if kind == "kvm" else (f"tcg,thread={threads}", "max")
    return ["-machine", hardware.machine, "-accel", accel, "-cpu", cpu]


def quoted(value: str | Path) -> str:
    """``value`` for a comma-separated QEMU option."""
    return str(value).replace(",", ",,")


def qemu(spec: MachineSpec, *, daemon: bool) -> list[str]:
    """The whole command line, to be run inside the tools tree with the machine's folder at :data:`INSIDE`.

    A daemon outlives us. Any other QEMU is killed by the kernel when its parent dies, however that happens:
    ``setpriv --pdeathsig`` asks for it (the parent is the thread that started QEMU).
    """
    words = [] if daemon else ["setpriv", "--pdeathsig", "KILL"]
    words += [spec.hardware.qemu, "-nodefaults", "-no-user-config", "-display", "none"]
    words += processor(spec.hardware, spec.kind, threads="single" if spec.virtual_time else "multi")
    words += spec.options
    words += ["-smp", str(spec.cpus), "-m", f"{spec.memory}M", *firmware(spec.hardware), *_disks(spec), *_network(spec)]
    # A watchdog, as real machines have one: it rests until a guest opens it, and resets one that hangs afterwards.
    words += ["-device", "virtio-rng-pci", "-device", "i6300esb"]
    if spec.hardware.power_key:
        words += ["-device", f"virtio-keyboard-pci,id={POWER_KEY}"]
    # One console for all uses: always logged, and a person may connect. Control-A x ends the machine.
    console = f"socket,id=console,path={INSIDE}/console.sock,server=on,wait=off,mux=on,logfile={INSIDE}/console.log"
    words += ["-chardev", console, "-serial", "chardev:console", "-mon", "chardev=console,mode=readline"]
    words += ["-qmp", f"unix:{INSIDE}/qmp.sock,server=on,wait=off", "-pidfile", f"{INSIDE}/pid"]
    if spec.kind == "tcg":
        words += ["-smbios", f"type=11,value=io.systemd.stub.kernel-cmdline-extra={SLOW}"]
    for name, value in credentials(spec).items():
        words += credential_device(name, value)
    words += [] if spec.reboot else ["-no-reboot"]
    return [*words, "-daemonize"] if daemon else words


def _disks(spec: MachineSpec) -> list[str]:
    # The overlay is thrown away with the machine, so nobody needs it flushed.
    drive = f"if=none,id=disk,format=qcow2,cache=unsafe,discard=unmap,file={INSIDE}/disk.qcow2"
    words = ["-drive", drive, "-device", "virtio-blk-pci,drive=disk,bootindex=1,serial=lichen-root"]
    if spec.data_disk:
        words += ["-drive", f"if=none,id=data,format=raw,discard=unmap,file={quoted(spec.data_disk)}"]
        words += ["-device", "virtio-blk-pci,drive=data,serial=lichen-data"]
    return words


def _network(spec: MachineSpec) -> list[str]:
    ports = {SSH_PORT: 0, **spec.forwards}
    forwards = "".join(f",hostfwd=tcp:127.0.0.1:{host}-:{guest}" for guest, host in sorted(ports.items()))
    # No option ROM: the firmware would try the network before the disk.
    return ["-netdev", f"user,id=net{forwards}", "-device", "virtio-net-pci,netdev=net,romfile="]


def credentials(spec: MachineSpec) -> dict[str, bytes]:
    """The credentials as bytes, in order.

    Raises:
        InputError: a name that neither systemd nor QEMU's options could carry.
    """
    problems = [
        Problem("not a name for a credential", name, "letters, digits, dot, dash and underscore only")
        for name in spec.credentials
        if not CREDENTIAL_NAME.fullmatch(name)
    ]
    problems += [
        Problem("the credential is too large for its name", name, "large values travel under names of up to 28 letters")
        for name, value in spec.credentials.items()
        if len(value) > SMBIOS_LIMIT and len(FW_CFG_PREFIX + name) > FW_CFG_NAME_LIMIT
    ]
    if problems:
        raise InputError(problems)
    return {
        name: value.encode() if isinstance(value, str) else value for name, value in sorted(spec.credentials.items())
    }


def credential_device(name: str, value: bytes) -> list[str]:
    """The option that hands the file of one credential to the guest; command lines are no place for secrets."""
    path = f"{INSIDE}/credentials/{name}"
    if len(value) > SMBIOS_LIMIT:
        return ["-fw_cfg", f"name={FW_CFG_PREFIX}{name},file={path}"]
    return ["-smbios", f"type=11,path={path}"]


def credential_file(name: str, value: bytes) -> bytes:
    """What that file holds."""
    if len(value) > SMBIOS_LIMIT:
        return value
    return f"io.systemd.credential.binary:{name}={base64.b64encode(value).decode()}".encode()
