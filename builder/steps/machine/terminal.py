"""A person's terminal, connected to a guest's serial console."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import termios
import tty
from collections.abc import Iterator

CHUNK = 1 << 16


@contextlib.contextmanager
def raw(descriptor: int) -> Iterator[None]:
    """Every key goes to the guest, control-C too; restored when the block is left."""
    if not os.isatty(descriptor):
        yield
        return
    before = termios.tcgetattr(descriptor)
    tty.setraw(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def attach(console: socket.socket, keyboard: int, screen: int) -> None:
    """Relay until the machine ends; keys stop at the end of ``keyboard``, output goes on."""
    console.settimeout(None)
    with raw(keyboard):
        sources: list[int] = [console.fileno(), keyboard]
        while True:
            ready = select.select(sources, [], [])[0]
            if console.fileno() in ready:
                data = _receive(console)
                if not data:
                    return
                _write(screen, data)
            if keyboard in ready:
                keys = os.read(keyboard, CHUNK)
                if keys:
                    with contextlib.suppress(OSError):  # the machine ended meanwhile; seen above
                        console.sendall(keys)
                else:
                    sources.remove(keyboard)


def _receive(console: socket.socket) -> bytes:
    try:
        return console.recv(CHUNK)
    except ConnectionResetError:
        return b""


def _write(screen: int, data: bytes) -> None:
    while data:
        data = data[os.write(screen, data) :]
