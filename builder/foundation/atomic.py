"""Files and folders that are complete or absent."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from builder.foundation.errors import LichenError, Problem

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
MAKE_ROOM = "free some room: `lichen clean` shows what the cache holds and what can go"


def write_atomically(path: Path, text: str) -> None:
    """Write ``text`` beside ``path``, flush it to the disk, rename it into place.

    What a killed process left beside it is taken over.

    Raises:
        LichenError: the disk is full or the folder cannot be written.
    """
    with written_atomically(path) as stream:
        stream.write(text.encode())


@contextlib.contextmanager
def written_atomically(path: Path, needed: int = 0) -> Iterator[IO[bytes]]:
    """A file beside ``path`` that takes its place when the block succeeds, flushed to the disk; gone when not.

    Args:
        needed: bytes that the block is going to write, for the words about a full disk.

    Raises:
        LichenError: the disk is full or the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.partial")
        with _taken(temporary) as stream:
            try:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
                temporary.chmod(0o644)
                temporary.rename(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
    except OSError as error:
        ours = isinstance(error.filename, str) and Path(error.filename).name.startswith(f".{path.name}.")
        # Nobody gave the temporary file's name: what is told is the one that was asked for.
        raise disk_error(OSError(error.errno, error.strerror) if ours else error, path, needed) from error


def _taken(path: Path) -> IO[bytes]:
    """The file ``path``, empty and locked: one process at a time writes it."""
    while True:
        stream = path.open("ab")
        fcntl.flock(stream, fcntl.LOCK_EX)
        # Whoever held it before us has renamed or removed it.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(path.stat(), os.fstat(stream.fileno())):
                stream.truncate(0)
                return stream
        stream.close()


def replace_folder(finished: Path, destination: Path) -> None:
    """Rename the folder ``finished`` to ``destination``; a folder that is there already is removed.

    Both lie on one file system. Where that file system can exchange two names there is always one whole folder at
    ``destination``; elsewhere there is a moment without, never one with half of it.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    if not destination.exists():
        finished.rename(destination)
    elif _exchange(finished, destination):
        shutil.rmtree(finished)
    else:
        aside = destination.with_name(f".{destination.name}.old-{os.getpid()}")
        destination.rename(aside)
        finished.rename(destination)
        shutil.rmtree(aside)


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two names in one step (renameat2(2)); False when the C library or the file system cannot."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return rename is not None and rename(here, os.fsencode(first), here, os.fsencode(second), exchange) == 0


def disk_error(error: OSError, path: Path, needed: int = 0) -> LichenError:
    """``error`` as a problem with a remedy; a full disk gets its own words.

    Args:
        path: what was being written, for errors that name no file themselves.
        needed: how many bytes still had to go there; 0 when nobody knows.
    """
    # Of two files, as in a copy, the second is the one that is written.
    named = error.filename2 or error.filename
    where = Path(os.fsdecode(named)) if isinstance(named, str | bytes) else path
    if error.errno is None or error.errno not in NO_ROOM:
        remedy = "check the path, its owner and its permissions; LICHEN_CACHE names another folder for the cache"
        return LichenError(Problem("cannot write", str(where), error.strerror or str(error), remedy))
    if not needed:
        return LichenError(Problem("the disk is full", str(where), os.strerror(error.errno), MAKE_ROOM))
    with contextlib.suppress(OSError):
        return room_error(where, needed, shutil.disk_usage(where if where.is_dir() else where.parent).free)
    return room_error(where, needed, 0)


def room_error(path: Path, needed: int, free: int) -> LichenError:
    """The error to raise when ``needed`` bytes do not fit at ``path``, where ``free`` are left."""
    why = f"{mebibytes(needed)} MiB more are needed, {mebibytes(free)} MiB are free"
    return LichenError(Problem("the disk is full", str(path), why, f"{MAKE_ROOM}; then run the command again"))


def mebibytes(size: int) -> int:
    """``size`` bytes in whole MiB, rounded up."""
    return -(-size // (1 << 20))
