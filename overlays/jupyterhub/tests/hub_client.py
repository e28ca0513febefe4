"""A person at a browser, as far as the hub can tell: forms, cookies, cross-site tokens, and a kernel's websocket.

Everything waits with a deadline of minutes, because the machine may be emulated.
"""

import json
import re
import secrets
import ssl
import time
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import requests
import websocket

T = TypeVar("T")

# Of every student; the machine under test is thrown away.
PASSWORD = secrets.token_urlsafe(16)
PATIENCE = 900
REQUEST_TIMEOUT = 180
XSRF_FIELD = re.compile(r'name="_xsrf" value="([^"]+)"')
# Browsers send it, and the hub treats requests without it differently.
NAVIGATE = {"Sec-Fetch-Mode": "navigate"}


def wait_for(what: str, probe: Callable[[], T | None]) -> T:
    """Call a probe until it returns something, or fail with the name of what did not happen."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            if (result := probe()) is not None:
                return result
        except requests.exceptions.SSLError as error:
            # A wrong certificate does not become right by waiting; a forwarded port that nobody listens on yet is
            # opened and closed at once, which looks like a broken handshake.
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise
        except (requests.ConnectionError, requests.Timeout):
            pass
        time.sleep(3)
    raise AssertionError(f"{what}: not within {PATIENCE} s")


class HubClient:
    """One browser session."""

    def __init__(self, url: str, certificate: Path) -> None:
        self.url = url
        self.certificate = certificate
        self.session = requests.Session()
        # Else $REQUESTS_CA_BUNDLE would silently replace the certificate given here, and a proxy the loopback address.
        self.session.trust_env = False
        self.session.verify = str(certificate)
        self.name = ""

    def get(self, path: str, **options: Any) -> requests.Response:
        """Open a page."""
        return self.session.get(self.url + path, timeout=REQUEST_TIMEOUT, headers=NAVIGATE, **options)

    def submit(self, path: str, **fields: str) -> requests.Response:
        """Open a page with a form, fill it in, send it; do not follow where it leads, which may be a new server."""
        token = XSRF_FIELD.search(self.get(path).text)
        assert token, f"no form at {path}"
        data = {"_xsrf": token.group(1), **fields}
        return self.session.post(
            self.url + path, data=data, timeout=REQUEST_TIMEOUT, headers=NAVIGATE, allow_redirects=False
        )

    def sign_up(self, name: str, password: str, **fields: str) -> requests.Response:
        """Fill in the sign-up form."""
        return self.submit("/hub/signup", username=name, password=password, confirmation=password, **fields)

    def try_login(self, name: str, password: str) -> requests.Response:
        """Fill in the login form."""
        return self.submit("/hub/login", username=name, password=password)

    def login(self, name: str, password: str) -> "HubClient":
        """Log in, or fail."""
        response = self.try_login(name, password)
        assert response.ok, f"{name} cannot log in: {response.status_code}"
        self.name = name
        assert self.get("/hub/home").ok
        assert self.api("GET", "user").json()["name"] == name
        return self

    def xsrf(self, path_prefix: str) -> str:
        """The cross-site token that hub and single-user server set on their own paths."""
        tokens = {cookie.path: cookie.value for cookie in self.session.cookies if cookie.name == "_xsrf"}
        return tokens[path_prefix] or ""

    def api(self, method: str, path: str, **options: Any) -> requests.Response:
        """Call the hub's REST API as the page's own scripts do."""
        headers = {"X-XSRFToken": self.xsrf("/hub/"), "Referer": f"{self.url}/hub/home"}
        url = f"{self.url}/hub/api/{path}"
        return self.session.request(method, url, headers=headers, timeout=REQUEST_TIMEOUT, **options)

    def spawn(self) -> None:
        """Start the own server and open JupyterLab, which sets the server's cookies."""
        response = self.api("POST", f"users/{self.name}/server")
        assert response.status_code in {201, 202, 400}, response.text

        def ready() -> bool | None:
            return self.api("GET", f"users/{self.name}").json()["servers"].get("", {}).get("ready") or None

        wait_for(f"server of {self.name}", ready)
        wait_for("JupyterLab", lambda: self.get(f"/user/{self.name}/lab").ok or None)

    def stop(self) -> None:
        """Stop the own server."""
        self.api("DELETE", f"users/{self.name}/server")
        wait_for("server to stop", lambda: not self.api("GET", f"users/{self.name}").json()["servers"] or None)

    def server_api(self, method: str, path: str, **options: Any) -> requests.Response:
        """Call the REST API of the own server."""
        prefix = f"/user/{self.name}/"
        headers = {"X-XSRFToken": self.xsrf(prefix), "Referer": f"{self.url}{prefix}lab"}
        url = f"{self.url}{prefix}api/{path}"
        return self.session.request(method, url, headers=headers, timeout=REQUEST_TIMEOUT, **options)

    def connect(self, path: str) -> websocket.WebSocket:
        """Open a websocket of the own server, as the page's own scripts do."""
        return websocket.create_connection(
            f"{self.url.replace('https', 'wss', 1)}/user/{self.name}/{path}",
            cookie="; ".join(f"{cookie.name}={cookie.value}" for cookie in self.session.cookies),
            sslopt={"cert_reqs": ssl.CERT_REQUIRED, "ca_certs": str(self.certificate)},
            timeout=PATIENCE,
            origin=self.url,
        )

    def start_kernel(self) -> "Kernel":
        """Start a Python kernel and connect to it."""
        response = self.server_api("POST", "kernels", json={"name": "python3"})
        assert response.status_code == 201, response.text
        return Kernel(self, response.json()["id"])


class Kernel:
    """A kernel, spoken to over its websocket with Jupyter's message protocol.

    Each request has a connection of its own: the server drops those that leave its pings unanswered between two tests.
    """

    def __init__(self, client: HubClient, kernel_id: str) -> None:
        self.client = client
        self.session_id = uuid.uuid4().hex
        self.path = f"api/kernels/{kernel_id}/channels?session_id={self.session_id}"

    def send(self, code: str) -> tuple[websocket.WebSocket, str]:
        """Ask the kernel to run code, and do not wait; return the connection and the request's id."""
        connection = self.client.connect(self.path)
        request = uuid.uuid4().hex
        header = {"msg_id": request, "msg_type": "execute_request", "session": self.session_id, "username": ""}
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
        message = {
            "channel": "shell",
            "header": {**header, "version": "5.3"},
            "parent_header": {},
            "metadata": {},
            "content": content,
        }
        connection.send(json.dumps(message))
        return connection, request

    def run(self, code: str) -> str:
        """Run code and return what it printed or evaluated to; an exception in the kernel fails the test."""
        connection, request = self.send(code)
        output = ""
        with closing(connection):
            while True:
                reply = json.loads(connection.recv())
                if reply["parent_header"].get("msg_id") != request:
                    continue
                kind, content = reply["msg_type"], reply["content"]
                if kind == "stream":
                    output += content["text"]
                elif kind == "execute_result":
                    output += content["data"]["text/plain"]
                elif kind == "error":
                    raise AssertionError("\n".join(content["traceback"]))
                elif kind == "status" and content["execution_state"] == "idle":
                    return output.strip()
