"""Reading an initrd: cpio archives ("newc"), some compressed, one after the other, as the kernel unpacks them.

Format: the kernel's Documentation/driver-api/early-userspace/buffer-format.
"""

from __future__ import annotations

import stat

from builder.foundation.digest import CHUNK
from builder.foundation.inside.blob import Blob
from builder.foundation.inside.tree import Entry, Tree, UnreadableError, kind_of, shown
from builder.steps.compare.packed import Scratch, packing, unpack

_MAGICS = (b"070701", b"070702")
_HEADER = 110
_LONGEST_NAME = 1 << 16


def is_cpio(blob: Blob) -> bool:
    """Whether an uncompressed cpio archive begins here."""
    return blob.read(0, 6) in _MAGICS


def read_initrd(blob: Blob, scratch: Scratch) -> Tree:
    """All members of all archives, in order. What is compressed is unpacked below ``scratch``.

    Raises:
        UnreadableError: damaged, or of another format.
    """
    tree = Tree()
    _archives(blob, scratch, tree, 0)
    return tree


def _archives(blob: Blob, scratch: Scratch, tree: Tree, level: int) -> None:
    position = 0
    while (position := _past_zeros(blob, position)) < blob.size:
        rest = blob.slice(position, blob.size)
        if is_cpio(rest):
            position += _archive(rest, tree)
        elif level == 0 and packing(rest.read(0, 8)):
            inside, size = unpack(rest, scratch.new())
            _archives(inside, scratch, tree, 1)
            position += size
        else:
            raise UnreadableError(f"no archive that is known at offset {position}")


def _past_zeros(blob: Blob, position: int) -> int:
    while position < blob.size:
        chunk = blob.read(position, CHUNK)
        left = len(chunk.lstrip(b"\0"))
        position += len(chunk) - left
        if left:
            break
    return position


def _archive(blob: Blob, tree: Tree) -> int:
    """Note the members of one archive; returns its bytes."""
    position = 0
    while True:
        head = blob.read(position, _HEADER)
        try:
            if head[:6] not in _MAGICS:
                raise ValueError("no member where one must be")
            words = [int(head[start : start + 8], 16) for start in range(6, _HEADER, 8)]
            _, mode, uid, gid, links, modified, size, _, _, major, minor, name_size, _ = words
            if not 0 < name_size <= _LONGEST_NAME:
                raise ValueError("impossible length of a name")
        except ValueError as error:
            raise UnreadableError(f"damaged cpio archive at offset {position}: {error}") from error
        name = blob.read(position + _HEADER, name_size).rstrip(b"\0")
        start = position + -(-(_HEADER + name_size) // 4) * 4
        position = start + -(-size // 4) * 4
        if name == b"TRAILER!!!":
            return position
        if start + size > blob.size:
            raise UnreadableError(f"cpio archive is cut short in {shown(name)}")
        kind = kind_of(mode)
        content = blob.slice(start, size)
        entry = Entry(
            kind,
            stat.S_IMODE(mode),
            uid,
            gid,
            {"modified": modified * 10**9},
            content if kind == "file" else None,
            shown(content.read(0, 4096)) if kind == "link" else "",
            {"links": str(links)} | ({"device number": f"{major}:{minor}"} if "device" in kind else {}),
        )
        tree.add("/" + shown(name).removeprefix("/").removeprefix("./"), entry, len(tree.entries))
