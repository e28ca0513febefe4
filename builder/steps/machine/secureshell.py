"""Logging in to a guest: a key made for one machine, and the host's ``ssh`` with a configuration of its own."""

from __future__ import annotations

import contextlib
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from builder.foundation.errors import LichenError, Problem
from builder.foundation.process import Completed, Runner

BANNER_PATIENCE = 15.0
LOGIN_PATIENCE = 90.0  # a login takes seconds on an emulated CPU that is busy booting


@dataclass(frozen=True)
class SecureShell:
    """The way into one guest.

    Attributes:
        folder: holds ``id_ed25519``, ``ssh_config`` and the socket of the shared connection.
        port: on 127.0.0.1.
    """

    folder: Path
    port: int
    runner: Runner

    @property
    def config(self) -> Path:
        """Configuration file for ``ssh -F``; the guest is called ``guest`` or by its address."""
        return self.folder / "ssh_config"

    def command(self, command: str = "") -> list[str]:
        """A command line for the host."""
        return ["ssh", "-F", str(self.config), "guest", *([command] if command else [])]

    def write_config(self, path: Path, socket_path: Path | None = None) -> Path:
        """Write a configuration file for ``ssh -F`` (testinfra: ``--ssh-config``)."""
        path.write_text(config_text(self.folder / "id_ed25519", self.port, socket_path), encoding="utf-8")
        return path

    def listens(self) -> bool:
        """Whether an SSH server greets on the port; QEMU accepts connections long before the guest does."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), BANNER_PATIENCE) as connection:
                connection.settimeout(BANNER_PATIENCE)
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def run(self, command: str, *, timeout: float = 300.0, check: bool = True) -> Completed:
        """Run a shell command as root in the guest.

        Raises:
            ProcessError: exit code other than zero and ``check`` is set; 255 is ssh's own.
            LichenError: the time is over.
        """
        return self.runner.run(self.command(command), timeout=timeout, check=check)

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        """One connection for all who log in during the block: on an emulated CPU each handshake takes seconds.

        It runs in the foreground as our child, so nothing stays behind, unlike with ``ControlPersist``.
        """
        words = ["ssh", "-F", str(self.config), "-M", "-N", "guest"]
        with (self.folder / "ssh.log").open("ab") as log, self.runner.started(words, stdout=log):
            yield


def config_text(key: Path, port: int, socket_path: Path | None) -> str:
    """An ssh_config for a throw-away guest: its host key is new at every first boot, so it proves nothing."""
    lines = [
        "Host guest 127.0.0.1",
        "  HostName 127.0.0.1",
        f"  Port {port}",
        "  User root",
        f'  IdentityFile "{str(key).replace("%", "%%")}"',
        "  IdentitiesOnly yes",
        "  IdentityAgent none",
        "  BatchMode yes",
        "  StrictHostKeyChecking no",
        "  UserKnownHostsFile /dev/null",
        "  GlobalKnownHostsFile /dev/null",
        "  LogLevel ERROR",
        "  ConnectTimeout 60",
        "  ServerAliveInterval 15",
        "  ServerAliveCountMax 8",
    ]
    if socket_path:
        lines.append(f'  ControlPath "{socket_path}"')
    return "\n".join(lines) + "\n"


def make_key(folder: Path, runner: Runner) -> str:
    """Make ``id_ed25519`` in ``folder`` unless it is there, and return its public half.

    Raises:
        LichenError: ``ssh-keygen`` or ``ssh`` is missing.
    """
    for program in ("ssh", "ssh-keygen"):
        if not shutil.which(program):
            remedy = "run ci/setup, or install the package openssh-client"
            raise LichenError(Problem(f"{program} is not installed", program, "guests are reached over SSH", remedy))
    key = folder / "id_ed25519"
    if not key.exists():
        runner.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lichen", "-f", key])
    return key.with_suffix(".pub").read_text(encoding="ascii").strip()
