"""Posts alerts as JSON to a web server of somebody's choice."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
from urllib.parse import unquote_to_bytes, urlsplit

from .alertrecord import Record
from .courier import DeliveryError

PATIENCE = 10.0  # seconds, for each of connecting, sending and every piece of the answer
LATER = frozenset({408, 425, 429})  # of the client's errors, those that pass


class Webhook:
    """One address that takes alerts. Redirects are errors: what is told here shall not go elsewhere.

    A user and a password in the address are sent along (HTTP's basic authentication).

    Raises:
        ValueError: the address is no http or https URL. The message does not show it: it may be a secret.
    """

    def __init__(self, url: str, patience: float = PATIENCE) -> None:
        try:
            parts = urlsplit(url)
            good = parts.scheme in {"http", "https"} and parts.hostname and url.isascii() and url.isprintable()
            self._https, self._host, self._port = parts.scheme == "https", parts.hostname or "", parts.port
        except ValueError:
            good = False
        if not good:
            raise ValueError("no http or https URL of a host, a port and printable ASCII characters") from None
        self._headers = {"Content-Type": "application/json", "User-Agent": "lichen-guard"}
        who, at, _ = parts.netloc.rpartition("@")
        if at:
            told = unquote_to_bytes(who if ":" in who else f"{who}:")
            self._headers["Authorization"] = f"Basic {base64.b64encode(told).decode()}"
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._patience = patience

    def deliver(self, record: Record) -> None:
        """Post one record.

        Raises:
            DeliveryError: the server refused it, or answered nonsense.
            OSError: it could not be reached.
        """
        body = json.dumps(record.to_json()).encode()
        if self._https:
            connection = http.client.HTTPSConnection(
                self._host, self._port, timeout=self._patience, context=ssl.create_default_context()
            )
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=self._patience)
        try:
            connection.request("POST", self._path, body, self._headers)
            status = connection.getresponse().status
        except http.client.HTTPException as error:
            raise DeliveryError(f"the webhook's answer is not HTTP: {type(error).__name__}") from error
        finally:
            connection.close()
        if not 200 <= status < 300:
            raise DeliveryError(f"the webhook answered {status}", final=300 <= status < 500 and status not in LATER)
