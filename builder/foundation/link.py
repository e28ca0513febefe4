"""One file under a second name: a hard link where that can be, else a copy."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

# Reasons why a hard link cannot be made where a copy can: other file system, too many links, links not allowed.
_NO_LINK = (errno.EXDEV, errno.EMLINK, errno.EPERM, errno.ENOTSUP)


def link_or_copy(source: Path, target: Path) -> None:
    """Make ``target`` the file ``source``, which is read-only.

    Raises:
        OSError: neither a link nor a copy can be made.
    """
    try:
        target.hardlink_to(source)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        copy(source, target)


def copy(source: Path, target: Path) -> None:
    """Make ``target`` a read-only file of its own with the bytes of ``source``.

    Raises:
        OSError: it cannot be written.
    """
    shutil.copyfile(source, target)
    target.chmod(0o444)
