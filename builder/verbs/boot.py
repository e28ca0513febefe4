"""Boot an image for a person: on the console of this terminal, or in the background with SSH."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shlex
import signal
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from builder.data.manifest import DISK, MANIFEST, SECURE_BOOT, UKI, Manifest, read_manifest
from builder.foundation.errors import InputError, LichenError, Problem
from builder.foundation.place import Cache
from builder.foundation.progress import step
from builder.foundation.toolbox import Toolbox
from builder.foundation.workbench import Workbench
from builder.steps.machine import Acceleration, Machine, MachineSpec, recorded_probe
from builder.steps.machine import guest as machines
from builder.steps.machine.acceleration import KVM
from builder.steps.machine.hardware import SSH_PORT, Kind, find_hardware
from builder.steps.machine.monitor import monitor, owner, press_power
from builder.steps.machine.secureshell import SecureShell
from builder.steps.secureboot import bears_signature, der

NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}")
STOP_PATIENCE = 120.0


@dataclass(frozen=True)
class Request:
    """What a person may choose about a machine.

    Attributes:
        name: of the machine; the profile's when empty.
        kind: ``kvm`` or ``tcg``; found out when None.
        grow: bytes that the machine's disk is larger than the image.
        data_disk: file of a second disk that outlives the machine, see :class:`MachineSpec`.
        forwards: guest port and port of 127.0.0.1 (0: any free one), besides the image's own ports.
        virtual_time: see :class:`MachineSpec`.
    """

    name: str = ""
    kind: Kind | None = None
    memory: int = 4096
    cpus: int = 2
    grow: int = 0
    data_disk: Path | None = None
    data_size: int = 4 << 30
    forwards: Mapping[int, int] = field(default_factory=dict)
    credentials: Mapping[str, str | bytes] = field(default_factory=dict)
    virtual_time: bool = False


@dataclass(frozen=True)
class Running:
    """A machine in the background.

    Attributes:
        folder: its state: console log, pid file, ssh configuration.
        ports: guest port and port of 127.0.0.1.
    """

    name: str
    image: Path
    folder: Path
    ports: dict[int, int]
    acceleration: Acceleration

    @property
    def ssh(self) -> str:
        """The command that logs in."""
        return shlex.join(["ssh", "-F", str(self.folder / "ssh_config"), "guest"])

    @property
    def stop(self) -> str:
        """The command that ends it."""
        return shlex.join(["lichen", "boot", "--stop", self.name])

    @property
    def pid_file(self) -> Path:
        """QEMU's process id."""
        return self.folder / "pid"

    @property
    def console_log(self) -> Path:
        """What the guest printed."""
        return self.folder / "console.log"

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        more = {"ssh": self.ssh, "stop": self.stop, "pid_file": self.pid_file, "console_log": self.console_log}
        document = {**asdict(self), **more}
        return {key: str(value) if isinstance(value, Path) else value for key, value in document.items()}


def machines_folder(cache: Cache) -> Path:
    """Machines that run, or ran, one folder each."""
    return cache.root / "machines"


def acceleration(workbench: Workbench, toolbox: Toolbox, architecture: str, kind: Kind | None) -> Acceleration:
    """How a guest will run: as the person said, else what the probe finds (once per boot of this host).

    Raises:
        LichenError: KVM was asked for, and no guest runs on it here.
    """
    if kind == "tcg":
        return Acceleration(kind, "as asked")
    record = workbench.cache.root / f"acceleration.{architecture}.json"
    found = recorded_probe(toolbox, workbench.runner, record, architecture=architecture)
    if kind == "kvm" and found.kind != "kvm":
        # Such a machine would count as running, never answer, and have to be ended by force.
        remedy = f"leave --acceleration out, or mend it and remove {record}, which keeps this finding"
        raise LichenError(Problem("KVM was asked for and runs no guest here", str(KVM), found.reason, remedy))
    return found


def specify(image: Path, manifest: Manifest, request: Request, kind: Kind) -> MachineSpec:
    """The machine for an image folder: the image's ports are forwarded, and Secure Boot is enforced if it is signed."""
    return MachineSpec(
        image=image / DISK,
        kind=kind,
        architecture=manifest.architecture,
        memory=request.memory,
        cpus=request.cpus,
        grow=request.grow,
        data_disk=request.data_disk.absolute() if request.data_disk else None,
        data_size=request.data_size,
        forwards={**dict.fromkeys(manifest.ports, 0), **request.forwards},
        credentials=request.credentials,
        trusted=trusted(image, manifest),
        virtual_time=request.virtual_time,
    )


def trusted(image: Path, manifest: Manifest) -> bytes | None:
    """The certificate (DER) that firmware must trust to boot a signed image; None where Secure Boot is not enforced.

    That is for images that are not signed, and for architectures without firmware that could.

    Raises:
        LichenError: the image folder is damaged, or of no architecture that is booted here.
    """
    if SECURE_BOOT not in manifest.artefacts or find_hardware(manifest.architecture).secure is None:
        return None
    try:
        pem = (image / SECURE_BOOT).read_bytes()
        return der(pem) if bears_signature(image / UKI, pem) else None
    except (OSError, ValueError) as error:
        remedy = "`lichen inspect` tells what is wrong with the folder"
        raise LichenError(Problem("the image's certificate cannot be read", str(image), str(error), remedy)) from error


def boot_console(
    workbench: Workbench, toolbox: Toolbox, image: Path, request: Request, *, keyboard: int, screen: int
) -> None:
    """Boot an image folder with its serial console on the terminal of two file descriptors, until the machine ends.

    The way in by SSH is a note beforehand. The image does not change; the machine's disk goes when it ends.

    Raises:
        LichenError: not an image folder, a machine of that name runs, or QEMU does not start.
    """
    manifest = read_manifest(image / MANIFEST)
    name, folder = _place(workbench.cache, request.name or manifest.profile)
    found = acceleration(workbench, toolbox, manifest.architecture, request.kind)
    with _held(folder, name):
        _sweep(folder)
        spec = specify(image, manifest, request, found.kind)
        with Machine(toolbox, spec, folder, runner=workbench.runner) as machine:
            running = Running(name, image, folder, machine.ports, found)
            workbench.progress.note(f"{found.kind}: {found.reason}")
            workbench.progress.note(f"log in with: {running.ssh}")
            for guest_port, host_port in sorted(machine.ports.items()):
                workbench.progress.note(f"port {guest_port} of the guest is 127.0.0.1:{host_port}")
            workbench.progress.note("control-A x ends the machine")
            machine.console(keyboard, screen)


def boot_daemon(workbench: Workbench, toolbox: Toolbox, image: Path, request: Request) -> Running:
    """Boot an image folder in the background; it runs on after we end, until :func:`stop`.

    Raises:
        LichenError: not an image folder, a machine of that name runs, or QEMU does not start.
    """
    manifest = read_manifest(image / MANIFEST)
    name, folder = _place(workbench.cache, request.name or manifest.profile)
    found = acceleration(workbench, toolbox, manifest.architecture, request.kind)
    runner = workbench.runner
    with step(workbench.progress, f"start {name} ({found.kind})"), _held(folder, name):
        _sweep(folder)
        try:
            spec = machines.prepare(toolbox, specify(image, manifest, request, found.kind), folder, runner)
            command = machines.qemu_command(toolbox, spec, folder, daemon=True)
            if runner.run(command, log=folder / "qemu.log", check=False).returncode != 0:
                raise machines.start_error(folder)
            running = Running(name, image.absolute(), folder, machines.read_ports(folder), found)
            SecureShell(folder, running.ports[SSH_PORT], runner).write_config(folder / "ssh_config")
        except BaseException:
            _kill(folder)
            machines.clean(folder)
            raise
    return running


def running_machines(cache: Cache) -> list[str]:
    """Names of the machines that run, in the background or on somebody's terminal."""
    return sorted(path.parent.name for path in machines_folder(cache).glob("*/pid") if owner(path))


def stop(workbench: Workbench, name: str, *, timeout: float = STOP_PATIENCE) -> bool:
    """End a machine in the background: by its power button, after ``timeout`` seconds by force.

    Returns:
        Whether the guest switched itself off.

    Raises:
        InputError: no such machine runs.
    """
    name, folder = _place(workbench.cache, name)
    if not owner(folder / "pid"):
        known = ", ".join(running_machines(workbench.cache)) or "none"
        raise InputError(Problem("no such machine runs", name, f"running: {known}"))
    with step(workbench.progress, f"stop {name}"):
        with contextlib.suppress(OSError), monitor(folder / "qmp.sock") as control:
            press_power(control)
        clean = machines.wait_until(lambda: not owner(folder / "pid"), timeout)
        if not clean:
            _kill(folder)
        machines.clean(folder)
    return clean


def _place(cache: Cache, name: str) -> tuple[str, Path]:
    if not NAME.fullmatch(name):
        why = "lower-case letters, digits, dot and dash, up to 64 of them"
        raise InputError(Problem("not a name for a machine", name, why))
    return name, machines_folder(cache) / name


@contextlib.contextmanager
def _held(folder: Path, name: str) -> Iterator[None]:
    """Nobody else starts a machine of this name meanwhile; the kernel lets go when the process ends."""
    remedy = f"end it (`lichen boot --stop {name}`), or give this one another --name"
    taken = InputError(Problem("a machine of that name runs already", str(folder), remedy=remedy))
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("ab") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise taken from None
        if owner(folder / "pid"):
            raise taken
        yield


def _sweep(folder: Path) -> None:
    """Remove what a machine of this name left, if need be after a crash: its disk belongs to another boot."""
    machines.clean(folder)
    machines.remove(folder, ("console.log", "qemu.log"))


def _kill(folder: Path) -> None:
    """End QEMU by force and wait until it is gone."""
    if pid := owner(folder / "pid"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        if not machines.wait_until(lambda: not owner(folder / "pid"), 30.0):
            raise LichenError(Problem("QEMU does not end", f"process {pid}", "even SIGKILL did not end it"))
