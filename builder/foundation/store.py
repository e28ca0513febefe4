"""The content-addressed store: every file under its SHA-256, never half-written.

Layout below the root: ``sha256/ab/abcd…`` finished objects (mode 0444), ``partial/abcd…`` downloads under way,
``derived/KIND/abcd…`` small texts worked out from objects. An object never changes, not even its time of change: builds
have it as a hard link. Its time of access is set to when it was last used. Any number of processes share a store:
whoever writes an object holds an exclusive lock on its partial file, the others wait and then find the object.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from builder.foundation.atomic import disk_error
from builder.foundation.digest import digest_bytes, digest_file
from builder.foundation.errors import LichenError, Problem

POLL_SECONDS = 0.1  # between two looks at a lock that another process holds
NOT_LOCKED = (errno.EAGAIN, errno.EACCES)
FETCH_AGAIN = "run the command again: it fetches the file anew"


class MissingObjectError(LichenError):
    """The store has no good copy of a file; ``changed`` tells that it had one with other bytes, now removed."""

    def __init__(self, problem: Problem, *, changed: bool) -> None:
        self.changed = changed
        super().__init__(problem)


class WrongContentError(LichenError):
    """A file that was to enter the store has other bytes than were asked for; ``actual`` is its SHA-256."""

    def __init__(self, problem: Problem, actual: str) -> None:
        self.actual = actual
        super().__init__(problem)


@dataclass(frozen=True)
class Entry:
    """A file of the store, as ``clean`` lists it. ``used`` is when it was last written, seconds since 1970."""

    sha256: str
    size: int
    used: float
    path: Path


@dataclass(frozen=True)
class Partial:
    """An object under way, locked for this process until the block that opened it is left."""

    path: Path
    descriptor: int

    @property
    def size(self) -> int:
        """Bytes that are there."""
        return os.fstat(self.descriptor).st_size

    def restart(self) -> None:
        """Forget what is there."""
        os.ftruncate(self.descriptor, 0)

    def append(self, data: bytes) -> None:
        """Write ``data`` at the end.

        Raises:
            OSError: it cannot be written; what fitted stays.
        """
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self.descriptor, rest) :]


class Store:
    """Content-addressed files below one folder, shared by all processes of this machine."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, sha256: str) -> Path:
        """Where the object is, or would be."""
        return self.root / "sha256" / sha256[:2] / sha256

    def has(self, sha256: str, size: int) -> bool:
        """Whether an object of this size is there; its bytes are not read."""
        try:
            return self.path(sha256).stat().st_size == size
        except OSError:
            return False

    def verified(self, sha256: str, size: int) -> Path:
        """The object for use, hashed anew. A changed one is removed, so that it counts as missing from now on.

        Raises:
            MissingObjectError: there is none, or its bytes had changed.
            LichenError: the disk cannot read it.
        """
        path = self.path(sha256)
        complaint = self._complaint(path, sha256, size)
        if complaint:
            # Look again under the object's lock: another process may have replaced the file meanwhile.
            with self._locked(sha256, threading.Event()) as partial:
                partial.path.unlink(missing_ok=True)
                complaint = self._complaint(path, sha256, size)
                if complaint:
                    path.unlink(missing_ok=True)
        if not complaint:
            # Noting the use is up to its owner; anybody may read it.
            with contextlib.suppress(OSError):
                os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
            return path
        problem = Problem("a file in the store was changed", str(path), f"{complaint}; it was removed", FETCH_AGAIN)
        raise MissingObjectError(problem, changed=True)

    def _complaint(self, path: Path, sha256: str, size: int) -> str:
        """What is wrong with the object's bytes; empty when nothing is."""
        try:
            found = path.stat().st_size
            actual = digest_file(path) if found == size else ""
        except FileNotFoundError:
            problem = Problem("a file is not in the store", str(path), "it was not fetched, or removed", FETCH_AGAIN)
            raise MissingObjectError(problem, changed=False) from None
        except OSError as error:
            remedy = f"check the disk; if it is healthy, remove {path} and run the command again"
            raise LichenError(Problem("the store cannot be read", str(path), str(error), remedy)) from error
        if found != size:
            return f"it has {found} bytes instead of {size}"
        return "" if actual == sha256 else f"its sha256 is {actual}"

    def insert(self, file: Path, sha256: str) -> Path:
        """Move ``file`` into the store once its bytes are proven: hash, flush to disk, rename.

        Raises:
            WrongContentError: its SHA-256 is another one; ``file`` stays where it is.
            LichenError: the store cannot be written.
        """
        actual = digest_file(file)
        if actual != sha256:
            why = f"its sha256 is {actual}, wanted is {sha256}"
            raise WrongContentError(Problem("a file has other bytes than the lock says", str(file), why), actual)
        path = self.path(sha256)
        size = file.stat().st_size
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._place(file, path)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                self._place(self._copied(file), path)
                file.unlink()
        except OSError as error:
            raise disk_error(error, self.root, size) from error
        return path

    def _place(self, file: Path, path: Path) -> None:
        with file.open("rb") as stream:
            os.fchmod(stream.fileno(), 0o444)
            os.fsync(stream.fileno())
        file.rename(path)
        # Only a flushed folder keeps the new name through a power cut.
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _copied(self, file: Path) -> Path:
        """A copy of ``file`` on the store's own file system."""
        folder = self.root / "partial"
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=folder, prefix="copy-")
        os.close(descriptor)
        try:
            shutil.copyfile(file, name)
        except BaseException:
            Path(name).unlink()
            raise
        return Path(name)

    @contextlib.contextmanager
    def partial(
        self, sha256: str, size: int, stop: threading.Event, waiting: Callable[[], None] = lambda: None
    ) -> Iterator[Partial | None]:
        """The object's partial file, locked: nobody else downloads the same object meanwhile.

        Yields None when there is nothing to do: the object is in the store, perhaps because another process just
        brought it, or ``stop`` was set while waiting for that process. What a killed process left is still there.
        An empty one is removed when the block is left.

        Args:
            waiting: called once when another process holds the lock.

        Raises:
            LichenError: the store cannot be written.
        """
        if self.has(sha256, size):
            yield None
            return
        with self._locked(sha256, stop, waiting) as partial:
            if stop.is_set():
                yield None
            elif self.has(sha256, size):
                partial.path.unlink()
                yield None
            else:
                try:
                    yield partial
                finally:
                    # Nothing came that another run could go on from: perhaps nobody has such a file.
                    if partial.size == 0 and _same_file(partial.path, partial.descriptor):
                        partial.path.unlink()

    @contextlib.contextmanager
    def _locked(
        self, sha256: str, stop: threading.Event, waiting: Callable[[], None] = lambda: None
    ) -> Iterator[Partial]:
        path = self.root / "partial" / sha256
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = self._lock(path, stop, waiting)
        except OSError as error:
            raise disk_error(error, path) from error
        try:
            yield Partial(path, descriptor)
        finally:
            os.close(descriptor)  # gives the lock back

    def _lock(self, path: Path, stop: threading.Event, waiting: Callable[[], None]) -> int:
        """An open file that is ``path`` and is locked, unless ``stop`` was set first."""
        told = False
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                # Polling keeps an interruption quick; a blocking flock would not see `stop`.
                while not _try_lock(descriptor) and not stop.wait(POLL_SECONDS):
                    if not told:
                        waiting()
                        told = True
                if stop.is_set() or _same_file(path, descriptor):
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            # The holder before us renamed or removed the file that we locked: take the one that is there now.
            os.close(descriptor)

    def objects(self) -> Iterator[Entry]:
        """Every finished object, by SHA-256."""
        return self._entries("sha256/*/*")

    def partials(self) -> Iterator[Entry]:
        """Every unfinished download, by SHA-256."""
        return self._entries("partial/*")

    def _entries(self, pattern: str) -> Iterator[Entry]:
        for path in sorted(self.root.glob(pattern)):
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                yield Entry(path.name, status.st_size, status.st_mtime, path)

    def remove(self, entry: Entry) -> bool:
        """Remove an object or an unfinished download; False when another process is working on that download."""
        try:
            descriptor = os.open(entry.path, os.O_RDONLY)
        except FileNotFoundError:
            return True
        try:
            if not _try_lock(descriptor) or not _same_file(entry.path, descriptor):
                return False
            entry.path.unlink(missing_ok=True)
            if entry.path.parent.name != "partial":
                for derived in self.root.glob(f"derived/*/{entry.sha256}"):
                    derived.unlink(missing_ok=True)
            return True
        finally:
            os.close(descriptor)

    def derived(self, kind: str, sha256: str, make: Callable[[], str]) -> str:
        """A small text worked out from an object, kept so that ``make`` runs once.

        A kept text that was damaged is made anew: its own digest stands on its first line.

        Raises:
            LichenError: the store cannot be written, or whatever ``make`` raises.
        """
        path = self.root / "derived" / kind / sha256
        with contextlib.suppress(OSError, UnicodeDecodeError):
            digest, _, text = path.read_bytes().decode().partition("\n")
            if digest == digest_bytes(text.encode()):
                return text
        text = make()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # In place: whoever reads half of it, or finds it after a kill, sees that its digest does not fit.
            path.write_bytes(f"{digest_bytes(text.encode())}\n{text}".encode())
        except OSError as error:
            raise disk_error(error, path, len(text)) from error
        return text


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in NOT_LOCKED:
            return False
        raise
    return True


def _same_file(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
