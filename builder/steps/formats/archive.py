"""A list of files as a tar that is the same for the same list.

The format is that of pax (POSIX.1-2001) where a name, number or attribute needs it, and plain ustar elsewhere; owners
are numbers. Extended attributes travel as ``SCHILY.xattr.NAME``, as container runtimes and mkfs.erofs read them.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from typing import IO

from builder.foundation.inside.blob import Blob
from builder.steps.formats.root import Node

_BUFFER = 1 << 20  # bytes
_TYPES = {"file": tarfile.REGTYPE, "folder": tarfile.DIRTYPE, "link": tarfile.SYMTYPE}


class _Reading(io.RawIOBase):
    """A blob as a file that is read once from the start."""

    def __init__(self, blob: Blob) -> None:
        self._chunks = blob.chunks()
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if not self._rest:
            self._rest = memoryview(next(self._chunks, b""))
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def write_archive(nodes: Iterable[Node], stream: IO[bytes] | io.BufferedIOBase) -> None:
    """Write ``nodes`` to ``stream`` in their order; a second name of a file becomes a hard link to the first.

    Raises:
        OSError: the stream or a node's content cannot be used.
    """
    names: dict[int, str] = {}
    with tarfile.open(mode="w|", fileobj=stream, bufsize=_BUFFER, format=tarfile.PAX_FORMAT) as archive:
        for node in nodes:
            info = _info(node)
            if node.identity is not None and node.identity in names:
                info.type, info.size, info.linkname = tarfile.LNKTYPE, 0, names[node.identity]
            elif node.identity is not None:
                names[node.identity] = node.path
            if info.type == tarfile.REGTYPE and node.content is not None:
                with io.BufferedReader(_Reading(node.content), _BUFFER) as content:
                    archive.addfile(info, content)
            else:
                archive.addfile(info)


def _info(node: Node) -> tarfile.TarInfo:
    info = tarfile.TarInfo(node.path)
    info.type = _TYPES[node.kind]
    info.mode, info.uid, info.gid, info.mtime = node.mode, node.uid, node.gid, node.modified
    info.linkname = node.link
    info.size = node.content.size if node.content is not None else 0
    # tarfile writes these as bytes again, whatever they are.
    info.pax_headers = {
        f"SCHILY.xattr.{name}": value.decode("utf-8", "surrogateescape") for name, value in node.attributes.items()
    }
    return info
