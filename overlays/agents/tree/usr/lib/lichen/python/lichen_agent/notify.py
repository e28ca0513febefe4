"""Tells systemd how the service is."""

from __future__ import annotations

import os
import socket
import time


def notify(**told: object) -> None:
    """Send ``READY=1`` and the like, in one message. Without systemd, or when it does not listen, nothing happens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    text = "\n".join(f"{name}={str(value).replace(chr(10), ' ')}" for name, value in told.items())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to:
        # A full queue must not stop the agent; the next message says the same.
        to.settimeout(1.0)
        try:
            to.sendto(text.encode("utf-8", "replace"), f"\0{address[1:]}" if address[0] == "@" else address)
        except OSError:
            return


def reloading() -> None:
    """Say that a reload has begun; ``READY=1`` ends it."""
    notify(RELOADING=1, MONOTONIC_USEC=time.monotonic_ns() // 1000)
