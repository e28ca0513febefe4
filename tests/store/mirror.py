"""A mirror on the loopback interface that misbehaves on request."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from builder.data.lock import Deb
from builder.foundation.digest import digest_bytes


@dataclass
class Request:
    """What a client asked for: the path and the Range header (empty when there was none)."""

    path: str
    range: str


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or every answer waits for the client's delayed acknowledgement of its header
    mirror: Mirror

    def do_GET(self) -> None:
        path = unquote(self.path)
        self.mirror.requests.append(Request(path, self.headers.get("Range", "")))
        faults = self.mirror.faults.get(path, [])
        fault = faults.pop(0) if faults else self.mirror.always
        body = self.mirror.files.get(path)
        # The client may hang up at any moment.
        with contextlib.suppress(OSError):
            if fault:
                fault(self, body or b"")
            elif body is None:
                self.send(404, b"not here")
            else:
                self.whole_or_part(body)

    def whole_or_part(self, body: bytes) -> None:
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if not match:
            self.send(200, body)
        elif int(match[1]) >= len(body):
            self.send(416, b"")
        else:
            offset = int(match[1])
            self.send(206, body[offset:], {"Content-Range": f"bytes {offset}-{len(body) - 1}/{len(body)}"})

    def send(self, status: int, body: bytes, headers: dict[str, str] | None = None, length: int | None = None) -> None:
        self.send_response(status)
        given = {
            "Content-Type": self.mirror.kinds.get(unquote(self.path), "application/octet-stream"),
            **(headers or {}),
        }
        for name, value in given.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 (the name that http.server wants)

    def log_message(self, *_: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that were killed are no news."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


Fault = Callable[[Handler, bytes], None]


def status(code: int) -> Fault:
    return lambda handler, _body: handler.send(code, b"sorry")


def truncated(handler: Handler, body: bytes) -> None:
    """Announces everything and closes after half of it."""
    handler.send(200, body[: len(body) // 2], length=len(body))
    handler.close_connection = True


def half_of_the_rest(handler: Handler, body: bytes) -> None:
    """Continues where it is asked to, and closes half-way to the end."""
    start = int(handler.headers.get("Range", "bytes=0-")[6:-1])
    headers = {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"} if start else {}
    rest = body[start:]
    handler.send(206 if start else 200, rest[: len(rest) // 2], headers, length=len(rest))
    handler.close_connection = True


def wrong_bytes(handler: Handler, body: bytes) -> None:
    handler.send(200, bytes(byte ^ 1 for byte in body))


def wrong_continuation(handler: Handler, body: bytes) -> None:
    """Other bytes when asked to continue, the right ones when asked for everything."""
    handler.whole_or_part(bytes(byte ^ 1 for byte in body) if "Range" in handler.headers else body)


def shorter(handler: Handler, body: bytes) -> None:
    handler.send(200, body[:-1])


def endless(handler: Handler, body: bytes) -> None:
    """Announces no length and sends more than there is."""
    handler.send_response(200)
    handler.end_headers()
    handler.close_connection = True
    while True:
        handler.wfile.write(body)


def silent(handler: Handler, _body: bytes) -> None:
    """Takes the request and never answers."""
    handler.close_connection = True
    handler.mirror.gate.wait(60)


def half_then_gate(handler: Handler, body: bytes) -> None:
    """Sends half, and the rest once the test opens the gate."""
    handler.send(200, body[: len(body) // 2], length=len(body))
    handler.wfile.flush()
    handler.mirror.gate.wait(60)
    handler.wfile.write(body[len(body) // 2 :])


def reset(handler: Handler, body: bytes) -> None:
    """Sends a third, then a TCP reset."""
    handler.send(200, body[: len(body) // 3], length=len(body))
    handler.wfile.flush()
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True


def ignores_range(handler: Handler, body: bytes) -> None:
    handler.send(200, body)


def refuses_range(handler: Handler, body: bytes) -> None:
    if "Range" in handler.headers:
        handler.send(416, b"")
    else:
        handler.send(200, body)


def other_range(handler: Handler, body: bytes) -> None:
    if "Range" in handler.headers:
        handler.send(206, body[1:], {"Content-Range": f"bytes 1-{len(body) - 1}/{len(body)}"})
    else:
        handler.send(200, body)


@dataclass
class Mirror:
    """Serves ``files``; ``faults`` are used up one per request of a path, ``always`` holds for all others."""

    files: dict[str, bytes] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    always: Fault | None = None
    requests: list[Request] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Mirror:
        handler = type("BoundHandler", (Handler,), {"mirror": self})
        self.server = Server(("127.0.0.1", 0), handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.gate.set()
        self.server.shutdown()
        self.server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def add(self, content: bytes, name: str = "tool", version: str = "1.0") -> Deb:
        """Offer ``content`` as a package; returns what a lock says of it."""
        deb = locked(content, name, version)
        self.files[f"/{deb.path}"] = content
        return deb


def locked(content: bytes, name: str = "tool", version: str = "1.0", architecture: str = "amd64") -> Deb:
    return Deb(
        name=name,
        version=version,
        architecture=architecture,
        archive="debian",
        path=f"pool/main/{name[0]}/{name}/{name}_{version.rpartition(':')[2]}_{architecture}.deb",
        size=len(content),
        sha256=digest_bytes(content),
        uses=("image",),
    )
