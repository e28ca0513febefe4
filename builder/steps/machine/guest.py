"""A running machine: started from an image that it does not change, watched, logged in to, powered down."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from builder.data.efivariables import enrolled
from builder.foundation.atomic import disk_error
from builder.foundation.errors import GuestTestError, LichenError, Problem
from builder.foundation.process import Completed, Runner
from builder.foundation.toolbox import Toolbox
from builder.steps.machine import terminal
from builder.steps.machine.console import Diagnosis, diagnose, tail
from builder.steps.machine.hardware import (
    AUTHORIZED_KEYS,
    INSIDE,
    SSH_PORT,
    MachineSpec,
    credential_file,
    credentials,
    qemu,
)
from builder.steps.machine.monitor import connect, forwards, monitor, press_power
from builder.steps.machine.secureshell import LOGIN_PATIENCE, SecureShell, make_key

START_PATIENCE = 60.0
BOOT_PATIENCE = 1200.0  # an emulated machine on a busy host takes minutes
# What a machine leaves in its folder is its log; the rest goes with it.
_TRANSIENT = ("credentials", "disk.qcow2", "firmware.vars", "id_ed25519", "id_ed25519.pub", "ssh_config")
_COMPLAINTS = (
    "systemctl list-jobs --no-legend --no-pager; systemctl --failed --no-legend --no-pager; "
    "journalctl --boot --priority=err --no-pager | tail -n 100"
)
_RUNTIME = ("pid", "qmp.sock", "console.sock")


class Machine:
    """A guest that lives as long as the block it is entered for.

    Its folder keeps ``console.log`` and ``qemu.log``. The image is the read-only backing file of the machine's disk.
    Enter it from the main thread: the kernel ends QEMU together with the thread that started it.

    Args:
        folder: made when missing. The disk of an earlier machine in it, left by ``keep``, is booted again.
        keep: leave disk, firmware variables and key for another machine in the same folder.
    """

    def __init__(
        self, toolbox: Toolbox, spec: MachineSpec, folder: Path, *, runner: Runner | None = None, keep: bool = False
    ) -> None:
        self.toolbox = toolbox
        data_disk = spec.data_disk.absolute() if spec.data_disk else None
        self.spec = replace(spec, image=spec.image.resolve(), data_disk=data_disk)
        self.folder = folder.absolute()
        self.runner = runner or Runner()
        self.keep = keep
        self.ports: dict[int, int] = {}
        self._running: Callable[[], bool] = lambda: False
        self._block = contextlib.ExitStack()
        self._shell: SecureShell | None = None
        self._console_start = 0

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as block:
            block.callback(self._clean)
            self.spec = prepare(self.toolbox, self.spec, self.folder, self.runner)
            # A second boot appends to the log of the first; only its own lines count.
            self._console_start = self.console_log.stat().st_size if self.console_log.exists() else 0
            log = block.enter_context((self.folder / "qemu.log").open("wb"))
            command = qemu_command(self.toolbox, self.spec, self.folder, daemon=False)
            process = block.enter_context(self.runner.started(command, stdout=log))
            self._running = lambda: process.poll() is None
            self.ports = self._await_ports()
            sockets = Path(block.enter_context(tempfile.TemporaryDirectory(prefix="lichen-")))
            self._shell = SecureShell(self.folder, self.ports[SSH_PORT], self.runner)
            self._shell.write_config(self._shell.config, sockets / "ssh")
            self._block = block.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._block.close()

    @property
    def console_log(self) -> Path:
        """Everything the guest printed on its serial console."""
        return self.folder / "console.log"

    @property
    def shell(self) -> SecureShell:
        """The way in over SSH."""
        if self._shell is None:
            raise RuntimeError("the machine was never entered")
        return self._shell

    def console_text(self) -> str:
        """What the guest printed since this machine started."""
        if not self.console_log.exists():
            return ""
        with self.console_log.open("rb") as stream:
            stream.seek(self._console_start)
            return stream.read().decode(errors="replace")

    def ssh_config(self, path: Path) -> Path:
        """Write an ssh configuration that leads to this guest over the shared connection."""
        text = self.shell.config.read_text(encoding="utf-8")
        path.write_text(text, encoding="utf-8")
        return path

    def run(self, command: str, *, timeout: float = 300.0, check: bool = True) -> Completed:
        """Run a shell command as root in the guest, see :meth:`SecureShell.run`."""
        return self.shell.run(command, timeout=timeout, check=check)

    def check(self) -> None:
        """Raise when the guest is beyond recovery.

        Raises:
            GuestTestError: it panicked, stopped in emergency mode or firmware, or QEMU ended.
        """
        if verdict := diagnose(self.console_text()):
            raise self.error(verdict)
        if not self.running():
            said = tail((self.folder / "qemu.log").read_text(encoding="utf-8", errors="replace"), 5)
            what = f"the machine ended by itself{f' ({said})' if said else ''}"
            raise self.error(Diagnosis(what, "a restart counts as an end too: see the console for its reason"))

    def error(self, verdict: Diagnosis, units: str = "") -> GuestTestError:
        """``verdict`` with the console's last lines and failed units, ready to be raised."""
        said = tail(self.console_text()) or "(nothing was printed on the console)"
        why = f"{units}\n{said}" if units else said
        return GuestTestError(Problem(verdict.what, str(self.console_log), why, verdict.remedy))

    def running(self) -> bool:
        """Whether QEMU still runs."""
        return self._running()

    def wait_for_ssh(self, timeout: float = BOOT_PATIENCE) -> None:
        """Wait until root can log in, then keep one connection for everyone.

        Raises:
            GuestTestError: the guest is beyond recovery, or the time is over.
        """
        deadline = time.monotonic() + timeout
        refusal = ""
        while not self._logs_in(deadline):
            self.check()
            if time.monotonic() > deadline:
                refusal = "it greets on SSH but lets nobody in" if self.shell.listens() else "it never answered on SSH"
                remedy = "a busy host? end other work and try again; else see the console"
                raise self.error(Diagnosis(f"the guest did not boot within {timeout:.0f} s: {refusal}", remedy))
            time.sleep(1)
        self._block.enter_context(self.shell.shared())

    def wait_booted(self, timeout: float = BOOT_PATIENCE) -> str:
        """Wait until systemd has no more start jobs and return its state: ``running``, or ``degraded``.

        Raises:
            GuestTestError: the guest is beyond recovery, or the time is over.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            self.check()
            with contextlib.suppress(LichenError):  # a slow answer; the guest gets its whole time
                done = self.run("timeout 10 systemctl is-system-running --wait", timeout=LOGIN_PATIENCE, check=False)
                if (state := done.stdout.strip()) in ("running", "degraded"):
                    return state
        verdict = Diagnosis(f"the guest is still booting after {timeout:.0f} s", "see which units are waited for")
        raise self.error(verdict, self.complaints())

    def complaints(self) -> str:
        """Waiting jobs, failed units and the journal's errors, as far as the guest still tells."""
        with contextlib.suppress(LichenError):
            return self.run(_COMPLAINTS, timeout=LOGIN_PATIENCE, check=False).stdout
        return ""

    def shutdown(self, timeout: float = 300.0) -> None:
        """Press the power button and wait until the guest has switched itself off.

        Raises:
            GuestTestError: it did not within ``timeout`` seconds; leaving the block ends it by force.
        """
        with contextlib.suppress(OSError), monitor(self.folder / "qmp.sock") as control:
            press_power(control)
        if not wait_until(lambda: not self.running(), timeout):
            raise self.error(Diagnosis(f"the guest did not power off within {timeout:.0f} s", "see the console"))

    def console(self, keyboard: int, screen: int) -> None:
        """Lend the serial console to a terminal until the machine ends (control-A x ends it)."""
        with open_console(self.folder) as connection:
            terminal.attach(connection, keyboard, screen)

    def _logs_in(self, deadline: float) -> bool:
        if not self.shell.listens():
            return False
        patience = min(LOGIN_PATIENCE, max(5.0, deadline - time.monotonic()))
        with contextlib.suppress(LichenError):
            return self.run("true", timeout=patience, check=False).returncode == 0
        return False

    def _await_ports(self) -> dict[int, int]:
        ports: dict[int, int] = {}

        def answered() -> bool:
            with contextlib.suppress(OSError):
                ports.update(read_ports(self.folder))
            return bool(ports) or not self.running()

        wait_until(answered, START_PATIENCE)
        if not ports:
            raise start_error(self.folder)
        return ports

    def _clean(self) -> None:
        clean(self.folder, keep=self.keep)


def prepare(toolbox: Toolbox, spec: MachineSpec, folder: Path, runner: Runner) -> MachineSpec:
    """Lay out a machine's folder: disk, firmware variables, key, credentials. What is kept from before stays.

    Returns:
        ``spec`` with the key among the credentials.

    Raises:
        LichenError: the image is missing, or the disk is full.
    """
    if not spec.image.is_file():
        raise GuestTestError(Problem("there is no disk image", str(spec.image), remedy="run `lichen build` first"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        remove(folder, _RUNTIME)
        if not (folder / "firmware.vars").exists():
            template = (toolbox.tree / spec.hardware.variables.lstrip("/")).read_bytes()
            (folder / "firmware.vars").write_bytes(enrolled(template, spec.trusted) if spec.trusted else template)
        if spec.data_disk and not spec.data_disk.exists():
            spec.data_disk.parent.mkdir(parents=True, exist_ok=True)
            with spec.data_disk.open("xb") as stream:
                stream.truncate(spec.data_size)
        keys = (make_key(folder, runner), _text(spec.credentials.get(AUTHORIZED_KEYS, "")))
        merged = {**spec.credentials, AUTHORIZED_KEYS: "\n".join(key for key in keys if key) + "\n"}
        spec = replace(spec, credentials=merged)
        secret = folder / "credentials"
        secret.mkdir(mode=0o700, exist_ok=True)
        for name, value in credentials(spec).items():
            (secret / name).write_bytes(credential_file(name, value))
    except OSError as error:
        raise disk_error(error, folder) from error
    if not (folder / "disk.qcow2").exists():
        size = spec.image.stat().st_size + spec.grow
        words = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", spec.image, f"{INSIDE}/disk.qcow2", size]
        runner.run(toolbox.command([str(word) for word in words], binds=[(folder, INSIDE)], readable=[spec.image]))
    return spec


def qemu_command(toolbox: Toolbox, spec: MachineSpec, folder: Path, *, daemon: bool) -> list[str]:
    """QEMU's command line for the host."""
    return toolbox.command(
        qemu(spec, daemon=daemon),
        binds=[(folder, INSIDE)],
        readable=[spec.image],
        writable=[spec.data_disk] if spec.data_disk else [],
        network=True,
        devices=True,
    )


def start_error(folder: Path) -> LichenError:
    """Why QEMU did not start, in its own words."""
    log = folder / "qemu.log"
    said = tail(log.read_text(encoding="utf-8", errors="replace"), 5) if log.exists() else ""
    remedy = "is another machine using the same data disk or port? `lichen doctor` checks the rest"
    return LichenError(Problem("QEMU did not start", str(log), said, remedy))


def read_ports(folder: Path) -> dict[int, int]:
    """Guest ports of the machine in ``folder`` and the ports of 127.0.0.1 that lead to them.

    Raises:
        OSError: no machine runs there.
    """
    with monitor(folder / "qmp.sock") as control:
        return forwards(control.execute("human-monitor-command", command_line="info usernet"))


def open_console(folder: Path) -> socket.socket:
    """The serial console of the machine in ``folder``.

    Raises:
        OSError: no machine runs there.
    """
    return connect(folder / "console.sock")


def clean(folder: Path, *, keep: bool = False) -> None:
    """Remove what a machine that ended leaves besides its logs, with ``keep`` only what no other could go on with."""
    remove(folder, _RUNTIME if keep else (*_RUNTIME, *_TRANSIENT))


def remove(folder: Path, names: tuple[str, ...]) -> None:
    """Remove files and folders of these names from ``folder``, if they are there."""
    for name in names:
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


def _text(value: str | bytes) -> str:
    return (value.decode() if isinstance(value, bytes) else value).strip()


def wait_until(done: Callable[[], object], timeout: float) -> bool:
    """Whether ``done`` became true within ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
