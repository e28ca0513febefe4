"""Files and folders that are complete or absent."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path

from builder.foundation.errors import LichenError, Problem


def write_atomically(path: Path, text: str) -> None:
    """Write ``text`` beside ``path``, flush it to the disk, rename it into place.

    Raises:
        LichenError: the disk is full or the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as stream:
            temporary = Path(stream.name)
            try:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
                temporary.chmod(0o644)
                temporary.rename(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise disk_error(error, path) from error


def replace_folder(finished: Path, destination: Path) -> None:
    """Rename the folder ``finished`` to ``destination``; a folder that is there already is moved aside, then removed.

    Both lie on one file system. Between the two renames there is a moment without a folder, never one with half of it.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    if destination.exists():
        aside = destination.with_name(f".{destination.name}.old-{os.getpid()}")
        destination.rename(aside)
        finished.rename(destination)
        shutil.rmtree(aside)
    else:
        finished.rename(destination)


def disk_error(error: OSError, path: Path) -> LichenError:
    """``error`` as a problem with a remedy; a full disk gets its own words."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        remedy = "free some room: `lichen clean` shows what the cache holds and what can go"
        return LichenError(Problem("the disk is full", str(path), os.strerror(error.errno), remedy))
    return LichenError(Problem("cannot write", str(path), str(error), "check the path and its permissions"))
