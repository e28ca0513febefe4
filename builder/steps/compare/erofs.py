"""Reading erofs, unpacked into a scratch folder."""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path
from uuid import UUID

from builder.foundation.inside.blob import Blob
from builder.foundation.inside.erofs import unpack_erofs
from builder.foundation.inside.tree import Entry, Tree, kind_of, shown
from builder.foundation.process import Runner
from builder.foundation.toolbox import Toolbox


def read_erofs(blob: Blob, toolbox: Toolbox, runner: Runner, folder: Path) -> Tree:
    """All files of an erofs, unpacked into the new folder ``folder``.

    Owners are right only for root: nobody else may give files away.

    Raises:
        UnreadableError: it is damaged.
    """
    root = unpack_erofs(blob, toolbox, runner, folder)
    made, fraction = struct.unpack("<QI", blob.read(1024 + 24, 12))
    fields = {
        "UUID": str(UUID(bytes=blob.read(1024 + 48, 16))),
        "label": shown(blob.read(1024 + 64, 16).rstrip(b"\0")),
        "creation time": f"{made}.{fraction:09}",
    }
    tree = Tree(fields=fields)
    tree.add("/", _entry(root))
    for here, folders, files in os.walk(os.fsencode(root)):
        folders.sort()
        for name in sorted((*folders, *files)):
            path = Path(os.fsdecode(os.path.join(here, name)))
            tree.add("/" + shown(os.fsencode(path.relative_to(root))), _entry(path))
    return tree


def _entry(path: Path) -> Entry:
    state = path.lstat()
    kind = kind_of(state.st_mode)
    return Entry(
        kind,
        stat.S_IMODE(state.st_mode),
        state.st_uid,
        state.st_gid,
        {"modified": state.st_mtime_ns},
        Blob.of_file(path) if kind == "file" else None,
        shown(os.fsencode(os.readlink(path))) if kind == "link" else "",
        {"device number": f"{state.st_rdev:#x}"} if "device" in kind else {},
    )
