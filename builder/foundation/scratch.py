"""Folders for one run: gone when it ends, and when it was killed, swept by the next one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def scratch_folder(root: Path) -> Iterator[Path]:
    """A folder for one run below ``root``, locked while it runs; folders of runs that were killed are swept first.

    Raises:
        OSError: ``root`` cannot be written.
    """
    root.mkdir(parents=True, exist_ok=True)
    # With the door shut nobody sweeps a folder between its making and its locking.
    with _locked_folder(root, fcntl.LOCK_EX):
        for left in root.glob("run-*"):
            with contextlib.suppress(OSError), _locked_folder(left, fcntl.LOCK_EX | fcntl.LOCK_NB):
                shutil.rmtree(left)
        folder = Path(tempfile.mkdtemp(dir=root, prefix="run-"))
        held = contextlib.ExitStack()
        held.enter_context(_locked_folder(folder, fcntl.LOCK_EX))
    with held:
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _locked_folder(folder: Path, how: int) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)
