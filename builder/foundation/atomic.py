"""Files and folders that are complete or absent."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import shutil
from pathlib import Path
from typing import IO

from builder.foundation.errors import LichenError, Problem


def write_atomically(path: Path, text: str) -> None:
    """Write ``text`` beside ``path``, flush it to the disk, rename it into place.

    What a killed process left beside it is taken over.

    Raises:
        LichenError: the disk is full or the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        temporary = path.with_name(f".{path.name}.partial")
        with _taken(temporary) as stream:
            try:
                stream.write(text.encode())
                stream.flush()
                os.fsync(stream.fileno())
                temporary.chmod(0o644)
                temporary.rename(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise disk_error(error, path) from error


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


def disk_error(error: OSError, path: Path) -> LichenError:
    """``error`` as a problem with a remedy; a full disk gets its own words.

    Args:
        path: what was being written, for errors that name no file themselves.
    """
    # Of two files, as in a copy, the second is the one that is written.
    named = error.filename2 or error.filename
    where = os.fsdecode(named) if isinstance(named, str | bytes) else str(path)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        remedy = "free some room: `lichen clean` shows what the cache holds and what can go"
        return LichenError(Problem("the disk is full", where, os.strerror(error.errno), remedy))
    return LichenError(
        Problem("cannot write", where, error.strerror or str(error), "check the path and its permissions")
    )
