"""A bundle: one file with a lock and every file that it names, for machines without network.

It is an ordinary tar archive, and the same for the same lock: ``bundle.json`` (the format, and the lock's digest),
``lock.json``, then the objects as ``sha256/ab/abcd…``, all sorted by name, without times and owners, uncompressed since
packages are compressed. Reading trusts nothing: the lock says which members come, of which size and hash.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
import tarfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from builder.data.lock import Lock
from builder.foundation.atomic import disk_error, room_error, written_atomically
from builder.foundation.digest import CHUNK, canonical_json, digest_bytes
from builder.foundation.errors import InputError, LichenError, Problem
from builder.foundation.progress import Progress, step
from builder.foundation.store import MissingObjectError, Partial, Store

FORMAT = 1
HEAD = "bundle.json"
LOCK = "lock.json"
LARGEST = {HEAD: 1 << 16, LOCK: 1 << 28}  # bytes; these two are read as a whole
_BLOCK = tarfile.BLOCKSIZE
_END = bytes(2 * _BLOCK)  # how a tar archive ends
_AGAIN = "copy it once more from where it was written, and import it again; what arrived stays"


def write_bundle(store: Store, lock: Lock, destination: Path, progress: Progress) -> None:
    """Write ``lock`` and every file that it names to ``destination``, complete or not at all.

    Raises:
        LichenError: the store lacks a file or it was changed, or ``destination`` cannot be written.
    """
    head = canonical_json({"format": FORMAT, "lock": lock.digest}).encode()
    texts = {HEAD: head, LOCK: lock.text().encode()}
    sizes = _objects(lock)
    total = sum(_padded(len(text)) for text in texts.values()) + sum(_padded(size) for size in sizes.values())
    total += len(_END) + _BLOCK * (len(texts) + len(sizes))
    with step(progress, "export"), written_atomically(destination, total) as stream:
        free = shutil.disk_usage(destination.parent).free
        if total > free:
            raise room_error(destination.parent, total, free)
        for name, text in texts.items():
            stream.write(_header(name, len(text)) + text + _padding(len(text)))
        for sha256, size in sizes.items():
            _write_object(store, sha256, size, stream)
            progress.advanced("export", stream.tell(), total)
        stream.write(_END)


def read_bundle(store: Store, bundle: Path, progress: Progress) -> tuple[Lock, tuple[str, ...]]:
    """Put every file of a bundle into the store, each once its bytes are proven.

    Returns:
        The bundle's lock, and the SHA-256 of the files that the store had not got.

    Raises:
        InputError: it cannot be read, is no bundle, or is damaged. What came before the fault is in the store.
        LichenError: the store cannot be written.
    """
    with step(progress, "import"), _opened(bundle) as source:
        lock = _read_lock(source)
        sizes = _objects(lock)
        missing = _missing(store, sizes)
        brought: list[str] = []
        done = 0
        for sha256, size in sizes.items():
            source.member(_name(sha256), size)
            if sha256 in missing and _receive(store, sha256, size, source):
                brought.append(sha256)
            source.require(sha256)
            done += size
            progress.advanced("import", done, sum(sizes.values()))
        source.end()
    return lock, tuple(brought)


@dataclass
class _Source:
    """A bundle being read, member by member."""

    path: Path
    stream: io.FileIO
    name: str = ""
    left: int = 0  # bytes of the member that are not read yet
    digest: str = ""  # of the member, once all of it was read

    def member(self, name: str, size: int | None = None) -> int:
        """Go to the next member, which must be the plain file ``name``; its size.

        Raises:
            InputError: it is another one, or of another size than ``size``.
        """
        block = self._read(_BLOCK)
        self.name = name
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            if block == bytes(_BLOCK):
                raise self._cut_off(f"it ends before {name}") from error
            raise self._damaged(f"no header of a tar archive stands before it: {error}") from error
        found = header.name.encode("utf-8", "surrogateescape").decode(errors="backslashreplace")
        if header.name != name or header.type != tarfile.REGTYPE:
            kind = "a plain file" if header.type == tarfile.REGTYPE else "no plain file"
            raise self.refused(
                "the bundle has a member that does not belong there",
                f"it is {found}, {kind}; wanted is the plain file {name}",
                "write it anew with `lichen fetch PROFILE --export FILE`; Lichen itself never wrote this one",
            )
        if header.size < 0 or header.size > LARGEST.get(name, header.size) or size not in (None, header.size):
            raise self._damaged(f"it has {header.size} bytes" + (f", locked are {size}" if size is not None else ""))
        self.left = header.size
        return header.size

    def content(self) -> Iterator[bytes]:
        """The member, piece by piece."""
        digest = hashlib.sha256()
        padding = -self.left % _BLOCK
        while self.left:
            chunk = self._read(min(CHUNK, self.left))
            digest.update(chunk)
            self.left -= len(chunk)
            yield chunk
        if self._read(padding) != bytes(padding):
            raise self._damaged("something stands between it and the next one")
        self.digest = digest.hexdigest()

    def require(self, sha256: str) -> None:
        """Read what is left of the member and compare its hash.

        Raises:
            InputError: it has other bytes.
        """
        if self.left:
            for _ in self.content():
                pass
        if self.digest != sha256:
            raise self._damaged(f"its sha256 is {self.digest}, wanted is {sha256}")

    def end(self) -> None:
        """The archive ends here.

        Raises:
            InputError: it does not, or not as a whole archive does.
        """
        self.name = "the end"
        if self._read(len(_END)) != _END or self._some(1):
            why = "something follows the last file that its lock names"
            raise self.refused("the bundle has a member that does not belong there", why, _AGAIN)

    def refused(self, what: str, why: str, remedy: str) -> InputError:
        """The error for a fault at the present member."""
        return InputError(Problem(what, f"{self.path}: {self.name}", why, remedy))

    def _damaged(self, why: str) -> InputError:
        return self.refused("the bundle is damaged", why, _AGAIN)

    def _cut_off(self, why: str) -> InputError:
        return self.refused("the bundle is cut off", why, _AGAIN)

    def _read(self, count: int) -> bytes:
        found = self._some(count)
        if len(found) < count:
            raise self._cut_off(f"{count - len(found)} bytes are missing there")
        return found

    def _some(self, count: int) -> bytes:
        found = b""
        try:
            while len(found) < count and (piece := self.stream.read(count - len(found))):
                found += piece
        except OSError as error:
            raise _unreadable(self.path, error) from error
        return found


@contextlib.contextmanager
def _opened(bundle: Path) -> Iterator[_Source]:
    try:
        # Unbuffered: a buffer would go on reading from a slow pipe after an interruption.
        stream = bundle.open("rb", buffering=0)
    except OSError as error:
        raise _unreadable(bundle, error) from error
    with stream:
        yield _Source(bundle, stream)


def _unreadable(bundle: Path, error: OSError) -> InputError:
    why = error.strerror or str(error)
    return InputError(Problem("the bundle cannot be read", str(bundle), why, "check the path and the medium"))


def _read_lock(source: _Source) -> Lock:
    """The first two members.

    Raises:
        InputError: they are not those of a bundle that this Lichen reads.
    """
    strange = "this is not a bundle"
    remedy = "name a file that `lichen fetch PROFILE --export FILE` wrote"
    try:
        source.member(HEAD)
        head = json.loads(b"".join(source.content()))
        version, digest = head["format"], head["lock"]
    except (InputError, ValueError, KeyError, TypeError, RecursionError) as error:
        why = error.problems[0].why if isinstance(error, LichenError) else f"{HEAD} cannot be understood"
        raise source.refused(strange, why, remedy) from error
    if version != FORMAT:
        why = f"its format is {version!r}, this Lichen reads {FORMAT}"
        raise source.refused("the bundle has another format", why, "use the version of Lichen that wrote it")
    source.member(LOCK)
    text = b"".join(source.content())
    if digest_bytes(text) != digest:
        raise source.refused("the bundle is damaged", "its lock is not the one that it was written with", _AGAIN)
    try:
        return Lock.model_validate(json.loads(text))
    except (ValidationError, ValueError, RecursionError) as error:
        first = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        remedy = "use the version of Lichen that wrote it"
        raise source.refused("the bundle's lock cannot be understood", first, remedy) from error


def _objects(lock: Lock) -> dict[str, int]:
    """Sizes of all files that a lock names, sorted by SHA-256."""
    return dict(sorted((file.sha256, file.size) for file in lock.files))


def _missing(store: Store, sizes: Mapping[str, int]) -> frozenset[str]:
    """What the store has no good copy of.

    Raises:
        LichenError: it does not fit.
    """
    missing = {}
    for sha256, size in sizes.items():
        try:
            store.verified(sha256, size)
        except MissingObjectError:
            missing[sha256] = size
    try:
        store.root.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(store.root).free
    except OSError as error:
        raise disk_error(error, store.root) from error
    if (needed := sum(missing.values())) > free:
        raise room_error(store.root, needed, free)
    return frozenset(missing)


def _receive(store: Store, sha256: str, size: int, source: _Source) -> bool:
    """Put the present member into the store; False when another process just brought the same.

    Raises:
        InputError: it has other bytes, or the bundle ends within.
        LichenError: the store cannot be written.
    """
    with store.partial(sha256, size, threading.Event()) as partial:
        if partial is None:
            return False
        try:
            _copy(source.content(), partial, size)
            source.require(sha256)
            store.insert(partial.path, sha256)
        except BaseException:
            partial.path.unlink(missing_ok=True)
            raise
    return True


def _copy(content: Iterator[bytes], partial: Partial, size: int) -> None:
    try:
        partial.restart()
        for chunk in content:
            partial.append(chunk)
    except OSError as error:
        raise disk_error(error, partial.path, size) from error


def _write_object(store: Store, sha256: str, size: int, stream: IO[bytes]) -> None:
    stream.write(_header(_name(sha256), size))
    for chunk in _stored(store, sha256, size):
        stream.write(chunk)
    stream.write(_padding(size))


def _stored(store: Store, sha256: str, size: int) -> Iterator[bytes]:
    """An object, piece by piece.

    Raises:
        MissingObjectError: there is none, or its bytes had changed.
    """
    with store.verified(sha256, size).open("rb") as stream:
        while chunk := stream.read(CHUNK):
            yield chunk


def _name(sha256: str) -> str:
    return f"sha256/{sha256[:2]}/{sha256}"


def _header(name: str, size: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size = size
    # The GNU form writes sizes above 8 GiB too; all else is as in the oldest one.
    return member.tobuf(tarfile.GNU_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % _BLOCK)


def _padded(size: int) -> int:
    return size + -size % _BLOCK
