"""Reading a Debian package: an ar archive of two tar archives, ``control`` and ``data``.

Format: deb(5), ar(5).
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

from builder.foundation.inside.blob import Blob
from builder.foundation.inside.tree import Entry, Tree, UnreadableError, shown
from builder.steps.compare.packed import Scratch, packing, unpack

_MAGIC = b"!<arch>\n"
_HEADER = 60
_END = b"`\n"
_KINDS = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.LNKTYPE: "hard link",
    tarfile.SYMTYPE: "link",
    tarfile.DIRTYPE: "folder",
}


def is_deb(blob: Blob) -> bool:
    """Whether this is a package, by its first member."""
    return blob.read(0, len(_MAGIC) + 13) == _MAGIC + b"debian-binary"


def read_deb(blob: Blob, scratch: Scratch) -> Tree:
    """What the package installs, below ``data/``, and its papers and scripts, below ``control/``, in their order.

    Raises:
        UnreadableError: damaged, or packed in a way that is not known.
    """
    tree = Tree()
    for name, changed, content in _members(blob):
        kind, dot, _ = name.partition(".tar")
        if not dot:
            tree.add(name, Entry("file", times={"mtime": changed * 10**9}, content=content), len(tree.entries))
            continue
        archive = scratch.new()
        if packing(content.read(0, 8)):
            unpack(content, archive)
        else:
            content.write(archive)
        try:
            _archive(tree, kind, archive)
        except (tarfile.TarError, ValueError) as error:
            raise UnreadableError(f"damaged tar archive {shown(name)}: {error}") from error
    return tree


def _members(blob: Blob) -> Iterator[tuple[str, int, Blob]]:
    """Name, seconds since 1970 and content of each member of an ar archive."""
    position = len(_MAGIC)
    while position < blob.size:
        head = blob.read(position, _HEADER)
        position += _HEADER
        try:
            if head[58:] != _END:
                raise ValueError("no member where one must be")
            name, changed, size = head[:16].decode("ascii").rstrip(" /"), int(head[16:28]), int(head[48:58])
        except ValueError as error:
            raise UnreadableError(f"damaged ar archive at offset {position - _HEADER}: {error}") from error
        if position + size > blob.size:
            raise UnreadableError(f"ar archive is cut short in {shown(name)}")
        yield name, changed, blob.slice(position, size)
        position += size + size % 2


def _archive(tree: Tree, prefix: str, path: Path) -> None:
    whole = Blob.of_file(path)
    with tarfile.open(path, "r:") as archive:
        for member in archive:
            entry = Entry(
                _KINDS.get(member.type, "unknown kind"),
                member.mode,
                member.uid,
                member.gid,
                {"mtime": round(member.mtime * 10**9)},
                whole.slice(member.offset_data, member.size) if member.isreg() else None,
                shown(member.linkname),
                {"user": shown(member.uname), "group": shown(member.gname)},
            )
            tree.add(f"{prefix}/{shown(member.name).removeprefix('./')}", entry, len(tree.entries))
