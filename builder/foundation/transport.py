"""Read URLs over HTTP or from files, and tell two kinds of failure apart: final ones and those that may pass.

Proxies come from the environment, the way requests reads it. Trusted are the machine's certificates, as for apt, pip
and uv: ``REQUESTS_CA_BUNDLE``, ``SSL_CERT_FILE``, the system's bundle, and only without any that of requests itself.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import requests

CHUNK = 1 << 16  # bytes; what a killed download loses at most
PASSING_STATUS = (408, 425, 429)  # besides 5xx: the server asks for patience


@dataclass(frozen=True)
class Limits:
    """How patient downloads are.

    Attributes:
        jobs: downloads at once.
        connect: seconds until a mirror must have taken the connection.
        silence: seconds without a byte until the next mirror is tried.
        attempts: rounds over all mirrors without a new byte until a file is given up.
        pause: seconds before the second round, doubled before each later one.
    """

    jobs: int = 8
    connect: float = 10
    silence: float = 30
    attempts: int = 3
    pause: float = 1


PAGE_LIMIT = 64 << 20  # bytes; the largest pages of public indexes have some 20 MB
# Debian's ca-certificates writes it, with what an administrator added.
SYSTEM_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
_VERIFY = re.compile(r"(?<=certificate verify failed: )[^(]+")


class RefusedError(Exception):
    """The mirror does not have the file; asking again would not help."""


class PassingError(Exception):
    """The mirror did not answer properly; it may when asked again."""


def connect() -> requests.Session:
    """A session that trusts the certificates this machine trusts."""
    session = requests.Session()
    named = [os.environ.get("SSL_CERT_FILE"), SYSTEM_CERTIFICATES]
    session.verify = next((path for path in named if path and Path(path).is_file()), True)
    return session


def get(session: requests.Session, url: str, headers: Mapping[str, str], limits: Limits) -> requests.Response:
    """An answer with status 200, 206 or 416, its body not read yet.

    Raises:
        RefusedError: any other status, a certificate that is not accepted, a URL that is none.
        PassingError: no connection, silence, or a status that asks for patience.
    """
    try:
        response = session.get(url, headers=headers, stream=True, timeout=(limits.connect, limits.silence))
    except requests.RequestException as error:
        raise _failure(error, limits) from error
    if response.status_code in (200, 206, 416):
        return response
    response.close()
    reason = f"HTTP {response.status_code} {response.reason}".strip()
    if response.status_code >= 500 or response.status_code in PASSING_STATUS:
        raise PassingError(reason)
    raise RefusedError(reason)


def chunks(response: requests.Response, limits: Limits) -> Iterator[bytes]:
    """The body of an answer, piece by piece.

    Raises:
        PassingError: it broke off or fell silent.
    """
    try:
        yield from response.iter_content(CHUNK)
    except requests.RequestException as error:
        raise _failure(error, limits) from error


def file_chunks(url: str) -> Iterator[bytes]:
    """The content of a ``file:`` URL, piece by piece.

    Raises:
        RefusedError: it cannot be read.
    """
    try:
        with Path(url2pathname(urlsplit(url).path)).open("rb") as stream:
            while chunk := stream.read(CHUNK):
                yield chunk
    except OSError as error:
        raise RefusedError(error.strerror or str(error)) from error


def read_page(session: requests.Session, url: str, accept: str, limits: Limits) -> tuple[bytes, str, str]:
    """A whole page: its body, its URL after redirects, and its content type.

    Raises:
        RefusedError, PassingError: as :func:`get`, or the page is larger than any index has.
    """
    with get(session, url, {"Accept": accept}, limits) as response:
        body = b""
        for chunk in chunks(response, limits):
            body += chunk
            if len(body) > PAGE_LIMIT:
                raise RefusedError(f"its page {url} has no end")
        return body, response.url, response.headers.get("Content-Type", "")


def starts_at(response: requests.Response, offset: int) -> bool:
    """Whether the body of a partial answer begins at ``offset``; servers may answer another range."""
    return response.headers.get("Content-Range", "").startswith(f"bytes {offset}-")


def _failure(error: requests.RequestException, limits: Limits) -> Exception:
    """The failure of a connection in a few words; requests' own ones repeat the URL and its inner classes."""
    if isinstance(error, requests.exceptions.SSLError):
        told = _VERIFY.search(str(error))
        return RefusedError(f"its certificate is not accepted: {told[0].strip() if told else error}")
    if isinstance(error, requests.ConnectTimeout):
        return PassingError(f"no connection within {limits.connect:g} s")
    if isinstance(error, requests.Timeout) or "timed out" in str(error):
        return PassingError(f"silent for {limits.silence:g} s")
    if not isinstance(error, requests.ConnectionError | requests.exceptions.ChunkedEncodingError):
        return RefusedError(str(error))
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return PassingError(cause.strerror)
        cause = cause.__cause__ or cause.__context__
    return PassingError("the connection broke off")
