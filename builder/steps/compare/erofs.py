"""Reading erofs: its files are compressed, so ``fsck.erofs`` of the tools tree unpacks them into a scratch folder."""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path
from uuid import UUID

from builder.foundation.inside.blob import Blob
from builder.foundation.inside.tree import Entry, Tree, UnreadableError, kind_of, shown
from builder.foundation.process import ProcessError, Runner
from builder.foundation.toolbox import Toolbox

_MAGIC = 0xE0F5E1E2


def is_erofs(blob: Blob) -> bool:
    """Whether an erofs begins here."""
    return blob.read(1024, 4) == _MAGIC.to_bytes(4, "little")


def read_erofs(blob: Blob, toolbox: Toolbox, runner: Runner, folder: Path) -> Tree:
    """All files of an erofs, unpacked into the new folder ``folder``.

    Owners are right only for root: nobody else may give files away.

    Raises:
        UnreadableError: it is damaged.
    """
    folder.mkdir(parents=True)
    source = blob.write(folder / "image")
    words = ["fsck.erofs", f"--extract={folder / 'files'}", "--preserve", str(source)]
    try:
        runner.run(toolbox.command(words, writable=[folder]))
    except ProcessError as error:
        lines = (error.completed.stderr or error.completed.stdout).strip().splitlines()
        raise UnreadableError(f"damaged erofs: {' '.join(lines[-2:])}") from error
    source.unlink()
    root = folder / "files"
    if not root.is_dir():
        raise UnreadableError("damaged erofs: nothing could be unpacked")
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
