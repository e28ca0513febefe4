"""Files inside something: a file system or an archive, read without unpacking it."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import dataclass, field

from builder.foundation.inside.blob import Blob

_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "folder",
    stat.S_IFLNK: "link",
    stat.S_IFIFO: "pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}


class UnreadableError(Exception):
    """What was to be read is damaged, or of a kind that is not read here. The message says why."""


@dataclass(frozen=True)
class Entry:
    """One file, folder or link.

    Attributes:
        kind: ``file``, ``folder``, ``link``, or what else it is.
        times: name of a time stamp and its value in nanoseconds since 1970.
        link: where a symbolic link points to.
        other: what else there is, by name, as text.
    """

    kind: str
    mode: int = 0
    uid: int = 0
    gid: int = 0
    times: Mapping[str, int] = field(default_factory=dict)
    content: Blob | None = None
    link: str = ""
    other: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Tree:
    """All entries of a file system or an archive, in the order in which they lie there.

    Attributes:
        fields: the file system's own fields by name (UUID and the like), as text.
        numbers: whether entries have an order that shows who was written first (inode numbers).
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    fields: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)

    def add(self, path: str, entry: Entry, number: int = 0) -> str:
        """Note an entry; a second one of the same path gets a number. Returns the name that it got."""
        name, count = path, 1
        while name in self.entries:
            count += 1
            name = f"{path} ({count})"
        self.entries[name] = entry
        self.numbers[name] = number
        return name


def kind_of(mode: int) -> str:
    """What a file is, from the mode of its inode: ``file``, ``folder``, ``link`` or another."""
    return _KINDS.get(stat.S_IFMT(mode), "unknown kind")


def shown(name: bytes | str) -> str:
    """A name from an image as text that is safe to print: whatever is not printable is escaped."""
    text = name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else name
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
