"""QMP: how QEMU is asked for its ports and told to power the guest down."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from builder.foundation.errors import LichenError, Problem

PATIENCE = 30.0
POWER_KEY = "power-key"  # the keyboard of a machine without a power button
FORWARD = re.compile(r"^\s*TCP\[HOST_FORWARD\]\s+\d+\s+\S+\s+(\d+)\s+\S+\s+(\d+)", re.MULTILINE)


def connect(path: Path, timeout: float = PATIENCE) -> socket.socket:
    """A connection to a Unix socket whose path may be longer than a socket address.

    Raises:
        OSError: nobody listens.
    """
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(timeout)
        deadline = time.monotonic() + timeout
        while True:
            try:
                connection.connect(f"/proc/self/fd/{folder}/{path.name}")
                break
            except BlockingIOError:  # QEMU has not taken the connection before ours yet
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
    except BaseException:
        connection.close()
        raise
    finally:
        os.close(folder)
    return connection


def owner(pid_file: Path) -> int | None:
    """The QEMU that runs with this pid file, None when none does.

    QEMU keeps the file locked while it runs, so a file that a crash left behind does not deceive, nor does a number
    that belongs to somebody else by now.
    """
    try:
        stream = pid_file.open("r+b")
    except OSError:
        return None
    with stream:
        try:
            fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return int(stream.read() or 0) or None
    return None


class Monitor:
    """An open QMP connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._stream = connection.makefile("rwb")
        self._answer("QMP")
        self.execute("qmp_capabilities")

    def execute(self, command: str, **arguments: Any) -> Any:
        """Run one QMP command and return its answer.

        Raises:
            LichenError: QEMU refuses it.
            OSError: QEMU is gone.
        """
        request: dict[str, Any] = {"execute": command}
        if arguments:
            request["arguments"] = {name.replace("_", "-"): value for name, value in arguments.items()}
        self._stream.write(json.dumps(request).encode() + b"\n")
        self._stream.flush()
        return self._answer("return")

    def _answer(self, key: str) -> Any:
        for line in self._stream:
            message = json.loads(line)
            if "error" in message:
                raise LichenError(Problem("QEMU refused a command", "QMP", str(message["error"].get("desc"))))
            if key in message:
                return message[key]
        raise ConnectionResetError("QEMU closed its monitor")


@contextlib.contextmanager
def monitor(path: Path) -> Iterator[Monitor]:
    """A QMP connection to the machine that listens at ``path``.

    Raises:
        OSError: nobody listens.
    """
    with connect(path) as connection:
        yield Monitor(connection)


def press_power(control: Monitor) -> None:
    """Press the machine's power button, or its power key where it has that instead.

    Raises:
        OSError: QEMU is gone.
    """
    devices = {item["name"] for item in control.execute("qom-list", path="/machine/peripheral")}
    if POWER_KEY in devices:
        control.execute("send-key", keys=[{"type": "qcode", "data": "power"}])
    else:
        control.execute("system_powerdown")


def forwards(text: str) -> dict[int, int]:
    """Guest port and host port of every forward in the answer to ``info usernet``."""
    return {int(guest): int(host) for host, guest in FORWARD.findall(text)}
