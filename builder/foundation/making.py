"""Folders that are made once: at ``NAME`` complete or absent, whatever happens to who makes them.

Beside ``NAME`` lie, while it is being made, ``.NAME.lock`` (a kernel lock that vanishes with its holder) and
``.NAME.partial`` (what is done so far). Both are gone afterwards; those of a killed process are swept by the next one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from builder.foundation.atomic import replace_folder
from builder.foundation.errors import InterruptError, Problem

_POLL_SECONDS = 0.1  # between two looks at a lock that somebody else holds


@contextlib.contextmanager
def alone(
    path: Path, *, waiting: Callable[[], None] = lambda: None, stop: threading.Event | None = None
) -> Iterator[None]:
    """Be the only one, of all threads and processes, who makes ``path``; waits for others.

    What a killed process left of it is removed.

    Args:
        waiting: called once when somebody else is at it.
        stop: gives the waiting up, for threads that an interruption does not reach.

    Raises:
        InterruptError: ``stop`` was set.
        OSError: the lock file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    stop = stop or threading.Event()
    descriptor = _try(path)
    if descriptor is None:
        waiting()
    while descriptor is None:
        if stop.wait(_POLL_SECONDS):
            raise InterruptError(Problem("stopped while waiting for another process", str(path)))
        descriptor = _try(path)
    try:
        shutil.rmtree(_partial(path), ignore_errors=True)
        yield
    finally:
        # Before the lock goes: who waits for it sees that this file is no longer the one to lock.
        _lock(path).unlink(missing_ok=True)
        os.close(descriptor)


@contextlib.contextmanager
def made_anew(path: Path) -> Iterator[Path]:
    """An empty folder that takes the place of ``path`` when the block succeeds, and is gone when not.

    The caller is :func:`alone` with ``path``.

    Raises:
        OSError: the disk is full or cannot be written.
    """
    partial = _partial(path)
    partial.mkdir()
    try:
        yield partial
        replace_folder(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove what killed processes left below ``folder``; what is being made stays."""
    for lock in folder.glob(".*.lock"):
        path = folder / lock.name.removeprefix(".").removesuffix(".lock")
        with contextlib.suppress(OSError):
            descriptor = _try(path)
            if descriptor is not None:
                shutil.rmtree(_partial(path), ignore_errors=True)
                lock.unlink(missing_ok=True)
                os.close(descriptor)


def _try(path: Path) -> int | None:
    """The open, locked lock file of ``path``; None when somebody else holds it."""
    lock = _lock(path)
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Its holder may have removed the file between our two calls.
        if os.path.samestat(lock.stat(), os.fstat(descriptor)):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _lock(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")
