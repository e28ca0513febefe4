"""A port of this machine alone that answers Prometheus."""

from __future__ import annotations

import threading
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

ADDRESS = "127.0.0.1"


def serve(registry: CollectorRegistry, port: int) -> WSGIServer:
    """Answer on a port of the loopback interface, in one thread: whoever is slow holds up other readers, not us.

    Raises:
        OSError: the port is taken.
    """
    server = make_server(ADDRESS, port, make_wsgi_app(registry), handler_class=_Handler)
    threading.Thread(target=server.serve_forever, name="agent-metrics", daemon=True).start()
    return server


class _Handler(WSGIRequestHandler):
    timeout = 5  # seconds for a piece of the request

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the journal is for what happened."""
