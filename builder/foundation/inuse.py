"""Who is using the cache: work holds it shared, cleaning wants it alone.

A lock of the kernel (flock) on ``in-use.lock`` in the cache; it vanishes with its process, so nothing is ever left
behind by a kill.
"""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from typing import IO

from builder.foundation.errors import LichenError, Problem
from builder.foundation.place import Cache

LOCK_NAME = "in-use.lock"


@contextlib.contextmanager
def shared(cache: Cache) -> Iterator[None]:
    """Use the cache beside others; waits for a cleaning under way to end.

    Raises:
        LichenError: the cache cannot be written.
    """
    with _opened(cache) as stream:
        fcntl.flock(stream, fcntl.LOCK_SH)
        yield


@contextlib.contextmanager
def exclusive(cache: Cache) -> Iterator[None]:
    """Have the cache alone, or fail at once.

    Raises:
        LichenError: somebody uses the cache, or it cannot be written.
    """
    with _opened(cache) as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            why = "a build, lock, boot or another clean is running"
            remedy = "let it end, then run the same command again"
            raise LichenError(Problem("the cache is in use", str(cache.root), why, remedy)) from error
        yield


@contextlib.contextmanager
def _opened(cache: Cache) -> Iterator[IO[bytes]]:
    path = cache.root / LOCK_NAME
    try:
        cache.root.mkdir(parents=True, exist_ok=True)
        stream = path.open("ab")
    except OSError as error:
        remedy = "make it writable, or name another with --cache"
        raise LichenError(Problem("the cache cannot be written", str(path), str(error), remedy)) from error
    # Closing the file lets the lock go; children do not inherit it (Python opens files close-on-exec).
    with stream:
        yield stream
