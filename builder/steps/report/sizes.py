"""Where an image's bytes are: files added up by who brought them, for a map that people walk into."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from builder.data.contents import FileEntry
from builder.data.duplicates import LARGE, Duplicate, duplicates

# The page must stay small: an image has tens of thousands of files.
SHOWN = 48  # boxes on one level of the map; the others go into a box of their own
FILES_SHOWN = 16  # largest files of one owner
FOLDER_PARTS = 3  # of a path, as in /usr/lib/python3: what the build made itself has no better owner
LEAST_FILE = 64 << 10  # bytes from which a file is shown by itself
DOUBLES_SHOWN = 20
KINDS = {
    "deb": "Debian packages",
    "wheel": "Python wheels",
    "overlay": "Overlays",
    "model": "Models",
    "build": "Made by the build",
}


@dataclass(frozen=True)
class Box:
    """One box of the map: a kind, an owner, a file, or many small ones together; ``size`` in bytes."""

    name: str
    kind: str
    size: int
    files: int
    inside: tuple[Box, ...] = ()  # the largest first, which the map's layout counts on

    def as_dict(self) -> dict[str, Any]:
        """For the page's script."""
        found: dict[str, Any] = {"name": self.name, "kind": self.kind, "size": self.size, "files": self.files}
        return {**found, "inside": [box.as_dict() for box in self.inside]} if self.inside else found


@dataclass(frozen=True)
class Sizes:
    """All sizes of an image.

    Attributes:
        root: the whole map.
        owners: every owner with any bytes, the largest first.
        doubles: large files that several owners bring, what would save most first.
    """

    root: Box
    owners: tuple[Box, ...]
    doubles: tuple[Duplicate, ...]


def measure(entries: Iterable[FileEntry]) -> Sizes:
    """Add up the files of an image."""
    by_owner: dict[tuple[str, str], _Owner] = defaultdict(_Owner)
    large: list[FileEntry] = []
    for entry in entries:
        if entry.kind == "file":
            by_owner[_owner(entry)].add(entry)
            if entry.size >= LARGE:
                large.append(entry)
    owners = _largest(found.box(*owner) for owner, found in by_owner.items() if found.size)
    return Sizes(_sum("Root file system", "", _kinds(owners)), tuple(owners), duplicates(large)[:DOUBLES_SHOWN])


def _owner(entry: FileEntry) -> tuple[str, str]:
    """Kind and name; a folder stands in for a name where there is none."""
    kind, _, name = entry.owner.partition(":")
    return kind if kind in KINDS else "build", name or "/".join(entry.path.split("/")[:-1][: FOLDER_PARTS + 1]) or "/"


class _Owner:
    """Files of one owner, the largest ones one by one."""

    def __init__(self) -> None:
        self.size = self.files = 0
        self.largest: list[tuple[int, str]] = []

    def add(self, entry: FileEntry) -> None:
        self.size += entry.size
        self.files += 1
        if entry.size >= LEAST_FILE:
            heapq.heappush(self.largest, (entry.size, entry.path))
            if len(self.largest) > FILES_SHOWN:
                heapq.heappop(self.largest)

    def box(self, kind: str, name: str) -> Box:
        inside = _largest(Box(path, kind, size, 1) for size, path in self.largest)
        rest, files = self.size - sum(box.size for box in inside), self.files - len(inside)
        if inside and rest:
            inside.append(Box(f"{files:,} smaller files", kind, rest, files))
        return Box(name, kind, self.size, self.files, tuple(_largest(inside)))


def _kinds(owners: Sequence[Box]) -> Iterator[Box]:
    for kind, title in KINDS.items():
        found = [box for box in owners if box.kind == kind]
        if found:
            yield _sum(title, kind, found)


def _sum(name: str, kind: str, inside: Iterable[Box]) -> Box:
    boxes = _largest(inside)
    size, files = sum(box.size for box in boxes), sum(box.files for box in boxes)
    return Box(name, kind, size, files, _few(boxes))


def _few(boxes: Sequence[Box]) -> tuple[Box, ...]:
    """At most :data:`SHOWN` boxes: what does not fit goes together into one more, which can be walked into."""
    if len(boxes) <= SHOWN:
        return tuple(boxes)
    shown, others = boxes[: SHOWN - 1], boxes[SHOWN - 1 :]
    return tuple(_largest([*shown, _sum(f"{len(others):,} others", boxes[0].kind, others)]))


def _largest(boxes: Iterable[Box]) -> list[Box]:
    return sorted(boxes, key=lambda box: (-box.size, box.name))
