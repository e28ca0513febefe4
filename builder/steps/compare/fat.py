"""Reading FAT12, FAT16 and FAT32 without mounting it: the boot sector's fields, folders in their order, contents.

Read here rather than copied out by mtools: the order of a folder's entries and all three time stamps are what two
builds differ in. Format: Microsoft's "FAT: General Overview of On-Disk Format", 1.03.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from datetime import UTC, datetime

from builder.foundation.inside.blob import Blob
from builder.foundation.inside.tree import Entry, Tree, UnreadableError, shown

_FOLDER, _LABEL, _LONG_NAME = 0x10, 0x08, 0x0F
_MOST_FOLDER_BYTES = 1 << 24


def is_fat(blob: Blob) -> bool:
    """Whether a FAT file system begins here."""
    head = blob.read(0, 512)
    return len(head) == 512 and head[510:] == b"\x55\xaa" and (head[54:57] == b"FAT" or head[82:87] == b"FAT32")


def read_fat(blob: Blob) -> Tree:
    """All files of a FAT file system.

    Raises:
        UnreadableError: it is damaged.
    """
    try:
        reader = _Reader(blob)
        tree = Tree(fields=reader.fields())
        for number, (path, entry) in enumerate(reader.walk()):
            tree.add(path, entry, number)
    except (struct.error, ValueError, IndexError, ZeroDivisionError) as error:
        raise UnreadableError(f"damaged FAT: {error}") from error
    return tree


class _Reader:
    def __init__(self, blob: Blob) -> None:
        self.blob = blob
        self.head = head = blob.read(0, 512)
        self.sector, per_cluster, reserved, copies, roots, sectors = struct.unpack_from("<HBHBHH", head, 11)
        (fat_size,) = struct.unpack_from("<H", head, 22)
        (many,) = struct.unpack_from("<I", head, 32)
        self.wide = fat_size == 0
        if self.wide:
            (fat_size,) = struct.unpack_from("<I", head, 36)
        sectors = sectors or many
        if sectors * self.sector > blob.size:
            raise UnreadableError(f"FAT of {sectors * self.sector} bytes in only {blob.size}")
        root_sectors = -(-roots * 32 // self.sector)
        self.root_start = (reserved + copies * fat_size) * self.sector
        self.root_bytes = roots * 32
        self.data = self.root_start + root_sectors * self.sector
        self.cluster = per_cluster * self.sector
        self.clusters = (sectors * self.sector - self.data) // self.cluster
        self.bits = 32 if self.wide else 12 if self.clusters < 4085 else 16
        self.table = blob.read(reserved * self.sector, fat_size * self.sector)

    def fields(self) -> dict[str, str]:
        serial, label = (67, 71) if self.wide else (39, 43)
        return {
            "volume serial number": self.head[serial : serial + 4][::-1].hex(),
            "label": shown(self.head[label : label + 11].rstrip()),
            "OEM name": shown(self.head[3:11].rstrip()),
            "geometry": self.head[11:36].hex(),
        }

    def walk(self) -> Iterator[tuple[str, Entry]]:
        """Path and entry of everything, in the order on disk, a folder before what it holds."""
        if self.wide:
            root = self._chain(struct.unpack_from("<I", self.head, 44)[0])
        else:
            root = self.blob.slice(self.root_start, self.root_bytes)
        yield "/", Entry("folder")
        todo, seen = [("", root)], set[tuple[int | None, int]]()
        while todo:
            folder, content = todo.pop()
            if content.pieces and content.pieces[0] in seen:
                raise UnreadableError(f"damaged FAT: the folder {folder} is its own parent or has two")
            seen.update(content.pieces[:1])
            for name, raw in self._names(content):
                path = f"{folder}/{shown(name)}"
                high, low, size = struct.unpack("<HHI", raw[20:22] + raw[26:32])
                if raw[11] & _FOLDER:
                    yield path, Entry("folder", times=_times(raw), other={"attributes": f"{raw[11]:#x}"})
                    todo.append((path, self._chain(high << 16 | low)))
                else:
                    inside = self._chain(high << 16 | low) if size else Blob(self.blob.path, ())
                    if inside.size < size:
                        raise UnreadableError(f"damaged FAT: {path} is shorter than its size says")
                    other = {"attributes": f"{raw[11]:#x}"}
                    yield path, Entry("file", times=_times(raw), content=inside.slice(0, size), other=other)

    def _names(self, content: Blob) -> Iterator[tuple[str, bytes]]:
        if content.size > _MOST_FOLDER_BYTES:
            raise UnreadableError(f"damaged FAT: a folder of {content.size} bytes")
        data = content.read()
        long: dict[int, bytes] = {}
        for start in range(0, len(data) - 31, 32):
            raw = data[start : start + 32]
            if raw[0] == 0:
                return
            if raw[0] == 0xE5:
                long = {}
            elif raw[11] == _LONG_NAME:
                long[raw[0] & 0x1F] = raw[1:11] + raw[14:26] + raw[28:32]
            elif raw[11] & _LABEL or raw[:2] in (b". ", b".."):
                long = {}
            else:
                yield self._name(raw, long), raw
                long = {}

    def _name(self, raw: bytes, long: dict[int, bytes]) -> str:
        if long:
            text = b"".join(long[index] for index in sorted(long)).decode("utf-16-le", "backslashreplace")
            return text.partition("\0")[0]
        stem, ending = (part.rstrip().decode("cp437") for part in (raw[:8], raw[8:11]))
        # Bits that Windows and mtools set for names all in lower case.
        stem = stem.lower() if raw[12] & 0x08 else stem
        ending = ending.lower() if raw[12] & 0x10 else ending
        return f"{stem}.{ending}" if ending else stem

    def _chain(self, first: int) -> Blob:
        pieces, seen, cluster = [], set[int](), first
        while 2 <= cluster < self.clusters + 2:
            if cluster in seen:
                raise UnreadableError("damaged FAT: a chain of clusters runs in a circle")
            seen.add(cluster)
            pieces.append(self.blob.slice(self.data + (cluster - 2) * self.cluster, self.cluster))
            cluster = self._next(cluster)
        return Blob(self.blob.path, ()).joined(pieces)

    def _next(self, cluster: int) -> int:
        if self.bits == 12:
            pair = int.from_bytes(self.table[cluster * 3 // 2 : cluster * 3 // 2 + 2], "little")
            return pair >> 4 if cluster & 1 else pair & 0xFFF
        size = self.bits // 8
        return int.from_bytes(self.table[cluster * size : (cluster + 1) * size], "little") & 0x0FFFFFFF


def _times(raw: bytes) -> dict[str, int]:
    """Nanoseconds since 1970, as if the times were UTC; FAT holds those of the zone of whoever wrote."""
    fine, created, created_day, read_day = struct.unpack_from("<BHHH", raw, 13)
    modified, modified_day = struct.unpack_from("<HH", raw, 22)
    return {
        "modified (local time)": _moment(modified_day, modified),
        "created (local time)": _moment(created_day, created) + fine * 10**7,
        "read (local time)": _moment(read_day, 0),
    }


def _moment(day: int, time: int) -> int:
    year, month, date = 1980 + (day >> 9), day >> 5 & 15, day & 31
    try:
        moment = datetime(year, month, date, time >> 11, time >> 5 & 63, (time & 31) * 2, tzinfo=UTC)
    except ValueError:
        return 0  # zeros mean that nobody noted it
    return int(moment.timestamp()) * 10**9
