"""An image that somebody published: a folder of this machine, or a URL. Nothing of it is believed unseen.

``SHA256SUMS`` says which files there are; each is hashed as it arrives, and one that is not what it says is an error.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit
from urllib.request import url2pathname

from builder.data.manifest import Manifest
from builder.foundation.atomic import disk_error
from builder.foundation.digest import digest_bytes, digest_file
from builder.foundation.errors import InputError, LichenError, Problem
from builder.foundation.progress import Progress, step
from builder.foundation.transport import Limits, PassingError, RefusedError, chunks, connect, file_chunks, get

SUMS = "SHA256SUMS"
MANIFEST = "manifest.json"
_LINE = re.compile(r"([0-9a-f]{64}) [ *]([A-Za-z0-9][A-Za-z0-9._+-]*)")
_SMALL = 16 << 20  # bytes; more than any of the two files above has
_ASK = "ask whoever published it for the whole folder, as `lichen build` left it"


@dataclass(frozen=True)
class Published:
    """What is published at ``place``: ``sums`` maps each file to the SHA-256 that it should have, as ``text`` says."""

    place: str
    text: str
    sums: dict[str, str]
    manifest: Manifest

    def fetched(self, folder: Path, progress: Progress) -> Path:
        """A folder with all of it, every byte checked: ``folder``, or the place itself when it is on this machine.

        Raises:
            LichenError: a file is missing, breaks off or has other bytes; or the disk is full.
        """
        if (own := _own_folder(self.place)) is not None:
            for name, wanted in self.sums.items():
                with step(progress, f"checking {name}"):
                    self._require(name, wanted, _hashed(own / name))
            return own
        needed = sum(item.size for item in self.manifest.artefacts.values())
        free = shutil.disk_usage(folder).free
        if needed > free:
            why = f"{needed >> 20} MiB are published, {free >> 20} MiB are free"
            raise LichenError(Problem("no room for the published image", str(folder), why, "free some room"))
        for name, wanted in self.sums.items():
            with step(progress, f"fetching {name}"):
                self._require(name, wanted, _download(self.place, name, folder / name))
        (folder / SUMS).write_text(self.text)
        return folder

    def _require(self, name: str, wanted: str, found: str) -> None:
        if found != wanted:
            why = f"its sha256 is {found}, {SUMS} says {wanted}"
            raise LichenError(Problem("a published file has other bytes", _where(self.place, name), why, _ASK))


def look_at(place: str) -> Published:
    """What is published at ``place``, a folder or an http, https or file URL of one. Reads two small files.

    Raises:
        InputError: the place is neither, or what lies there is no image folder.
        LichenError: it cannot be read.
    """
    where = _where(place, SUMS)
    sums = {}
    listed = _small(place, SUMS).decode(errors="replace")
    for line in listed.splitlines():
        match = _LINE.fullmatch(line)
        if not match or match[2] in sums:
            raise InputError(Problem("this is no list of checksums", where, f"a line says {line[:80]!r}", _ASK))
        sums[match[2]] = match[1]
    if MANIFEST not in sums:
        raise InputError(Problem("the list of checksums does not name manifest.json", where, "", _ASK))
    text = _small(place, MANIFEST)
    if digest_bytes(text) != sums[MANIFEST]:
        why = f"its sha256 is {digest_bytes(text)}, {SUMS} says {sums[MANIFEST]}"
        raise LichenError(Problem("a published file has other bytes", _where(place, MANIFEST), why, _ASK))
    try:
        # JSON has no tuples: strict models take its lists only in JSON mode.
        manifest = Manifest.model_validate_json(text)
    except ValueError as error:
        remedy = "take the version of Lichen that it was published with"
        raise InputError(
            Problem("the published manifest cannot be read", _where(place, MANIFEST), str(error), remedy)
        ) from error
    return Published(place, listed, sums, manifest)


def _own_folder(place: str) -> Path | None:
    """The folder of this machine that ``place`` names; None for an address on a network."""
    parts = urlsplit(place)
    if parts.scheme in ("http", "https"):
        return None
    folder = Path(url2pathname(parts.path)) if parts.scheme == "file" else Path(place)
    if not place or not folder.is_dir():
        remedy = "give a folder, or an http, https or file URL of one"
        raise InputError(Problem("there is no such place", place, "it is no folder of this machine", remedy))
    return folder


def _small(place: str, name: str) -> bytes:
    own = _own_folder(place)
    content = bytearray()
    for chunk in _reading(place, name, file_chunks((own / name).absolute().as_uri()) if own else _body(place, name)):
        content += chunk
        if len(content) > _SMALL:
            raise LichenError(Problem("a published file has no end", _where(place, name), "", _ASK))
    return bytes(content)


def _hashed(path: Path) -> str:
    try:
        return digest_file(path)
    except OSError as error:
        why = error.strerror or str(error)
        raise LichenError(Problem("a published file cannot be had", str(path), why, _ASK)) from error


def _download(place: str, name: str, path: Path) -> str:
    """The file's SHA-256. Stretches of zeros become holes: a disk image is mostly those."""
    digest = hashlib.sha256()
    try:
        with path.open("wb") as stream:
            for chunk in _reading(place, name, _body(place, name)):
                digest.update(chunk)
                if chunk.strip(b"\0"):
                    stream.write(chunk)
                else:
                    stream.seek(len(chunk), os.SEEK_CUR)
            stream.truncate()
    except OSError as error:
        raise disk_error(error, path) from error
    return digest.hexdigest()


def _body(place: str, name: str) -> Iterator[bytes]:
    limits = Limits()
    with connect() as session, get(session, _where(place, name), {}, limits) as response:
        yield from chunks(response, limits)


def _reading(place: str, name: str, content: Iterator[bytes]) -> Iterator[bytes]:
    """``content``, whose failures become problems."""
    try:
        yield from content
    except RefusedError as error:
        raise LichenError(Problem("a published file cannot be had", _where(place, name), str(error), _ASK)) from error
    except PassingError as error:
        remedy = "run the same command again later"
        raise LichenError(
            Problem("a published file did not arrive", _where(place, name), str(error), remedy)
        ) from error


def _where(place: str, name: str) -> str:
    """Path or URL of a file of the place."""
    if urlsplit(place).scheme in ("http", "https"):
        return f"{place.rstrip('/')}/{quote(name)}"
    return f"{place.rstrip('/')}/{name}"
