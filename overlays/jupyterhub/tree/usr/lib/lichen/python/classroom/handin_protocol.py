"""What the command "handin" and the service behind it say to each other over a Unix socket.

The client sends one line of JSON, {"assignment": "week-1"}, and then a tar archive of regular files; or {} to ask
what was handed in so far. The service answers with one line of JSON, either {"error": "..."} or the result. Who the
client is, the kernel tells.
"""

import json
from pathlib import Path
from typing import IO, Any

SOCKET = Path("/run/classroom-handin.sock")
LONGEST_LINE = 65536


class ProtocolError(Exception):
    """The other side sent something else."""


def send(stream: IO[bytes], message: dict[str, Any]) -> None:
    """Write one line."""
    stream.write(json.dumps(message).encode() + b"\n")
    stream.flush()


def receive(stream: IO[bytes]) -> dict[str, Any]:
    """Read one line."""
    line = stream.readline(LONGEST_LINE)
    try:
        message = json.loads(line)
    except ValueError as error:
        raise ProtocolError("not a line of JSON") from error
    if not isinstance(message, dict):
        raise ProtocolError("not a JSON object")
    return message
