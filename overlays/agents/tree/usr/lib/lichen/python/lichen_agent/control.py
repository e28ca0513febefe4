"""Questions and orders to the running agent: one line of JSON each way, over a socket that only root reaches.

A socket, not files: the answer is of this moment, and that there is one says that the agent's loop goes round.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

LONGEST = 65536  # bytes of a request
PATIENCE = 5.0  # seconds for somebody to say what he wants
ANSWER_PATIENCE = 60.0  # an emulated machine may take as long for a turn of the loop


class ControlError(Exception):
    """The agent does not answer; the message says why."""


class NotRunningError(ControlError):
    """There is no agent to ask."""


class Control:
    """The agent's end. A thread takes requests; they are answered where :meth:`turn` is called, one at a time."""

    def __init__(self, path: Path, answer: Callable[[Mapping[str, object]], Mapping[str, object]]) -> None:
        """Listen.

        Raises:
            OSError: the socket cannot be made.
        """
        self._answer = answer
        self._asked: queue.Queue[tuple[Mapping[str, object], queue.Queue[Mapping[str, object]]]] = queue.Queue(16)
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        mask = os.umask(0o077)
        try:
            self._socket.bind(str(path))
        finally:
            os.umask(mask)
        self._socket.listen(16)
        threading.Thread(target=self._listen, name="agent-control", daemon=True).start()

    def turn(self) -> None:
        """Answer what was asked since the last turn."""
        while True:
            try:
                request, reply = self._asked.get_nowait()
            except queue.Empty:
                return
            reply.put(self._answer(request))

    def close(self) -> None:
        """Take no more requests."""
        # A thread that waits in accept() is not woken by close alone.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            # Whoever goes away, sends nonsense or nothing has himself to blame.
            with connection, contextlib.suppress(OSError, ValueError, queue.Full, queue.Empty):
                connection.settimeout(PATIENCE)
                request = json.loads(_line(connection))
                reply: queue.Queue[Mapping[str, object]] = queue.Queue(1)
                self._asked.put_nowait((request if isinstance(request, dict) else {}, reply))
                connection.sendall(json.dumps(reply.get(timeout=ANSWER_PATIENCE)).encode() + b"\n")


def ask(path: Path, request: Mapping[str, object]) -> Mapping[str, object]:
    """Ask the running agent whose socket is ``/run/NAME/control``; its service is called NAME, too.

    Raises:
        ControlError: it does not run, does not answer, or refuses; or one may not ask.
    """
    service = f"{path.parent.name}.service"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(ANSWER_PATIENCE + PATIENCE)
            connection.connect(str(path))
            connection.sendall(json.dumps(request).encode() + b"\n")
            answer = json.loads(_line(connection, 16 << 20))
    except PermissionError as error:
        raise ControlError("only root may ask the agent") from error
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise NotRunningError(f"the agent does not run; see systemctl status {service}") from error
    except (OSError, ValueError) as error:
        raise ControlError(f"the agent does not answer ({error}); see journalctl --unit {service}") from error
    if "error" in answer:
        raise ControlError(str(answer["error"]))
    return answer


def _line(connection: socket.socket, longest: int = LONGEST) -> bytes:
    data = b""
    while not data.endswith(b"\n"):
        piece = connection.recv(65536)
        if not piece or len(data) + len(piece) > longest:
            raise ValueError("no whole line came")
        data += piece
    return data
