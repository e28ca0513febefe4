"""Large files that several owners bring into one image."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

from builder.data.contents import BUILD, FileEntry
from builder.data.model import Frozen, Strings

LARGE = 1 << 20  # bytes from which on a file that is there twice is worth a word
# A library's name up to its major version, which is what programs ask for: libcudart.so.12.4.127 is libcudart.so.12.
_LIBRARY = re.compile(r"lib[^/]+?\.so\.[0-9]+")


class Duplicate(Frozen):
    """A large file that more than one package brings.

    Attributes:
        identical: the same bytes; otherwise the same library in two builds.
        owners: who brings it, sorted; as in :class:`~builder.data.contents.FileEntry`.
        paths: where it lies, sorted.
        saved: bytes that one copy less of each would free.
    """

    name: str
    identical: bool
    owners: Strings
    paths: Strings
    saved: int


def duplicates(entries: Iterable[FileEntry], minimum: int = LARGE) -> tuple[Duplicate, ...]:
    """Files of at least ``minimum`` bytes that several owners bring, what would save most first.

    Found by equal bytes, and as one library that a Debian package and a wheel bring in builds of their own. What the
    build itself copies, such as the kernel, does not count: no profile can leave it out.
    """
    equal: defaultdict[str, list[FileEntry]] = defaultdict(list)
    alike: defaultdict[str, list[FileEntry]] = defaultdict(list)
    for entry in entries:
        if entry.kind == "file" and entry.size >= minimum and entry.owner != BUILD:
            equal[entry.sha256 or entry.path].append(entry)
            if library := _LIBRARY.match(_name(entry)):
                alike[library[0]].append(entry)
    found = [_duplicate(_name(group[0]), group) for group in equal.values() if _owners(group) > 1]
    for name, group in alike.items():
        kinds = {entry.owner.partition(":")[0] for entry in group}
        if {"deb", "wheel"} <= kinds and len({entry.sha256 for entry in group}) > 1:
            found.append(_duplicate(name, group))
    return tuple(sorted(found, key=lambda item: (-item.saved, item.name, item.paths)))


def _name(entry: FileEntry) -> str:
    return entry.path.rpartition("/")[2]


def _owners(group: Sequence[FileEntry]) -> int:
    return len({entry.owner for entry in group})


def _duplicate(name: str, group: Sequence[FileEntry]) -> Duplicate:
    sizes = [entry.size for entry in group]
    return Duplicate(
        name=name,
        identical=len({entry.sha256 for entry in group}) == 1,
        owners=tuple(sorted({entry.owner for entry in group})),
        paths=tuple(sorted(entry.path for entry in group)),
        saved=sum(sizes) - max(sizes),
    )
