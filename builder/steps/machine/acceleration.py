"""Acceleration is probed, not assumed: a KVM device can open and yet hang every ordinary guest.

A boot sector of a few bytes proves nothing: there are hosts whose KVM runs it and then dies on the first
floating-point instruction of 64-bit code. UEFI firmware is an ordinary guest: 64-bit, paged, with timers and devices.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from builder.foundation.atomic import write_atomically
from builder.foundation.digest import canonical_json, digest_value
from builder.foundation.process import Runner
from builder.foundation.toolbox import Toolbox
from builder.steps.machine.hardware import INSIDE, Hardware, Kind, find_hardware, firmware, processor

KVM = Path("/dev/kvm")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
PATIENCE = 20.0  # an emulated firmware needs about a tenth of this, a working KVM less
HOPELESS = b"KVM internal error"


@dataclass(frozen=True)
class Acceleration:
    """How guests run here, and why."""

    kind: Kind
    reason: str


def probe(
    toolbox: Toolbox,
    runner: Runner,
    *,
    architecture: str = "amd64",
    device: Path = KVM,
    host: str | None = None,
    patience: float = PATIENCE,
) -> Acceleration:
    """KVM when the device opens and firmware answers within ``patience`` seconds, else software emulation.

    Args:
        host: the host's ``platform.machine()``, asked when None.
    """
    hardware = find_hardware(architecture)
    if (host or platform.machine()) != hardware.host:
        return Acceleration("tcg", f"the host is no {hardware.host}")
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return Acceleration("tcg", f"{device} does not open: {error.strerror}")
    if complaint := firmware_complaint(toolbox, runner, hardware, "kvm", patience):
        return Acceleration("tcg", f"{device} opens, but no guest runs: {complaint}")
    return Acceleration("kvm", f"a guest answered through {device}")


def firmware_complaint(
    toolbox: Toolbox, runner: Runner, hardware: Hardware, kind: Kind, patience: float = PATIENCE
) -> str:
    """Why firmware on a machine without disks does not reach boot device selection; empty when it does."""
    with tempfile.TemporaryDirectory(prefix="lichen-probe-") as name:
        folder = Path(name)
        shutil.copyfile(toolbox.tree / hardware.variables.lstrip("/"), folder / "firmware.vars")
        words = ["setpriv", "--pdeathsig", "KILL", hardware.qemu, "-nodefaults", "-no-user-config", "-display", "none"]
        words += [*processor(hardware, kind), "-m", "256M", *firmware(hardware), "-serial", f"file:{INSIDE}/serial"]
        command = toolbox.command(words, binds=[(folder, INSIDE)], devices=True)
        with (folder / "qemu.log").open("wb") as log, runner.started(command, stdout=log) as process:
            deadline = time.monotonic() + patience
            while time.monotonic() < deadline:
                ended = process.poll() is not None
                if hardware.answer in _read(folder / "serial"):
                    return ""
                said = _read(folder / "qemu.log")
                if ended or HOPELESS in said:
                    lines = said.decode(errors="replace").strip().splitlines()
                    return next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "no word")
                time.sleep(0.1)
    return f"firmware said nothing within {patience:.0f} s"


def probe_identity(boot_id: str, toolbox: Toolbox, architecture: str) -> str:
    """What a probe's result holds for: this boot of the host, this QEMU, this architecture."""
    return digest_value({"architecture": architecture, "boot": boot_id, "tools": str(toolbox.tree)})


def recorded_probe(
    toolbox: Toolbox,
    runner: Runner,
    record: Path,
    *,
    architecture: str = "amd64",
    boot_id: Path = BOOT_ID,
    device: Path = KVM,
) -> Acceleration:
    """:func:`probe`, or its result from the file ``record`` when neither host nor QEMU changed since.

    Whether the device opens is asked every time: that depends on who asks.
    """
    identity = probe_identity(boot_id.read_text(encoding="ascii").strip(), toolbox, architecture)
    try:
        known = json.loads(record.read_text(encoding="utf-8"))
        if known["identity"] == identity and os.access(device, os.R_OK | os.W_OK) == known["opens"]:
            return Acceleration(known["kind"], known["reason"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # never probed, or by a Lichen that kept other fields: probing is cheap
    found = probe(toolbox, runner, architecture=architecture, device=device)
    opens = os.access(device, os.R_OK | os.W_OK)
    write_atomically(record, canonical_json({"identity": identity, "opens": opens, **asdict(found)}))
    return found


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""
