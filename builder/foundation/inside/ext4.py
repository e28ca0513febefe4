"""Reading ext4 without mounting it: superblock, inodes, folders, contents as blobs.

Read here rather than unpacked by debugfs: no second copy of gigabytes, no root, inode numbers and all time stamps are
seen, and a hostile image's names never become paths of this machine. Format: the kernel's
Documentation/filesystems/ext4.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from builder.foundation.digest import digest_bytes
from builder.foundation.inside.blob import Blob
from builder.foundation.inside.tree import Entry, Tree, UnreadableError, kind_of, shown

_MAGIC = 0xEF53
_META_BG, _EXTENTS, _64BIT, _INLINE, _ENCRYPT = 0x10, 0x40, 0x80, 0x8000, 0x10000
_FLAG_EXTENTS, _FLAG_INLINE = 0x80000, 0x10000000
_ROOT = 2
_ATTRIBUTES = 0xEA020000.to_bytes(4, "little")
_ATTRIBUTES_HEADER = 32  # bytes before the first extended attribute of a block
_ATTRIBUTE_NAMES = {
    1: "user.",
    2: "system.posix_acl_access",
    3: "system.posix_acl_default",
    4: "trusted.",
    6: "security.",
    7: "system.",
}
_MOST_INODES = 50_000_000  # more than any image has: a damaged count must not keep us busy for days
_MOST_FOLDER_BYTES = 1 << 28
# Offset, struct format and name of superblock fields that two builds of one image may have otherwise.
_FIELDS = (
    *((0x00, "<I", "inode count"), (0x04, "<I", "block count"), (0x08, "<I", "reserved blocks")),
    *((0x0C, "<I", "free blocks"), (0x10, "<I", "free inodes"), (0x2C, "<I", "mount time"), (0x30, "<I", "write time")),
    *((0x34, "<H", "mount count"), (0x40, "<I", "check time"), (0x5C, "<I", "compatible features")),
    *((0x60, "<I", "incompatible features"), (0x64, "<I", "read-only features"), (0x68, "uuid", "UUID")),
    *((0x78, "16s", "label"), (0x88, "64s", "last mounted on"), (0xD0, "uuid", "journal UUID")),
    *((0xEC, "uuid", "directory hash seed"), (0x100, "<I", "default mount options"), (0x108, "<I", "creation time")),
    *((0x160, "<I", "flags"), (0x178, "<Q", "kilobytes written"), (0x270, "<I", "checksum seed")),
)


def is_ext4(blob: Blob) -> bool:
    """Whether an ext2, ext3 or ext4 file system begins here."""
    return blob.read(1024 + 0x38, 2) == _MAGIC.to_bytes(2, "little")


def read_ext4(blob: Blob) -> Tree:
    """All files of an ext4 file system.

    Raises:
        UnreadableError: it is damaged, or has a feature that is not read here.
    """
    try:
        reader = Ext4(blob)
        tree = Tree(fields=_superblock_fields(reader.superblock))
        for path, number, inode in reader.walk():
            tree.add(shown(path), _entry(reader, inode), number)
    except (struct.error, ValueError, IndexError, OverflowError) as error:
        raise UnreadableError(f"damaged ext4: {error}") from error
    return tree


def _superblock_fields(data: bytes) -> dict[str, str]:
    fields = {}
    for offset, form, name in _FIELDS:
        if form == "uuid":
            fields[name] = str(UUID(bytes=data[offset : offset + 16]))
        else:
            (value,) = struct.unpack_from(form, data, offset)
            fields[name] = shown(value.rstrip(b"\0")) if isinstance(value, bytes) else str(value)
    return fields


@dataclass(frozen=True)
class Inode:
    """What a file system knows of one file, as it lies on the disk."""

    raw: bytes

    def u16(self, offset: int) -> int:
        """The number of two bytes there."""
        return int.from_bytes(self.raw[offset : offset + 2], "little")

    def u32(self, offset: int) -> int:
        """The number of four bytes there."""
        return int.from_bytes(self.raw[offset : offset + 4], "little")

    @property
    def mode(self) -> int:
        """Kind and permissions, as in ``st_mode``."""
        return self.u16(0)

    @property
    def uid(self) -> int:
        """Number of the owner."""
        return self.u16(2) | self.u16(0x78) << 16

    @property
    def gid(self) -> int:
        """Number of the group."""
        return self.u16(0x18) | self.u16(0x7A) << 16

    @property
    def links(self) -> int:
        """How many names there are."""
        return self.u16(0x1A)

    @property
    def size(self) -> int:
        """Bytes."""
        return self.u32(4) | self.u32(0x6C) << 32

    @property
    def flags(self) -> int:
        """What is special about its content, as bits."""
        return self.u32(0x20)

    @property
    def extra(self) -> int:
        """Bytes behind the first 128 that hold fields."""
        return self.u16(0x80) if len(self.raw) > 0x82 else 0

    def times(self) -> dict[str, int]:
        """Nanoseconds since 1970; two bits of the second word prolong the seconds."""
        places = {"modified": (0x10, 0x88), "changed": (0x0C, 0x84), "read": (0x08, 0x8C), "created": (0x90, 0x94)}
        found = {}
        for name, (low, high) in places.items():
            there = 0x80 + self.extra >= high + 4
            if name == "created" and not there:
                continue
            more = self.u32(high) if there else 0
            seconds = int.from_bytes(self.raw[low : low + 4], "little", signed=True) + ((more & 3) << 32)
            found[name] = seconds * 10**9 + (more >> 2)
        return found


class Ext4:
    """An open ext4 file system.

    Raises:
        UnreadableError: as every method: it is damaged, or has a feature that is not read here. :mod:`struct` and
            ``ValueError`` complain about other damage.
    """

    def __init__(self, blob: Blob) -> None:
        self.blob = blob
        self.superblock = data = blob.read(1024, 1024)
        first_data, log_size = struct.unpack_from("<II", data, 0x14)
        incompatible = int.from_bytes(data[0x60:0x64], "little")
        if log_size > 6:
            raise UnreadableError("damaged ext4: impossible block size")
        if incompatible & (_META_BG | _ENCRYPT):
            raise UnreadableError("ext4 with meta block groups or encryption is not read here")
        self.block = 1024 << log_size
        self.blocks = int.from_bytes(data[0x04:0x08], "little")
        if incompatible & _64BIT:
            self.blocks |= int.from_bytes(data[0x150:0x154], "little") << 32
        if self.blocks * self.block > blob.size:
            raise UnreadableError(f"ext4 of {self.blocks * self.block} bytes in only {blob.size}")
        self.inodes, self.per_group = struct.unpack_from("<I", data, 0)[0], struct.unpack_from("<I", data, 0x28)[0]
        self.inode_size = struct.unpack_from("<H", data, 0x58)[0]
        if not 0 < self.inodes <= _MOST_INODES or not self.per_group or not 128 <= self.inode_size <= self.block:
            raise UnreadableError("damaged ext4: impossible inode counts")
        size = struct.unpack_from("<H", data, 0xFE)[0] if incompatible & _64BIT else 32
        groups = -(-self.inodes // self.per_group)
        table = blob.read((first_data + 1) * self.block, groups * size)
        self.tables = []
        for start in range(0, groups * size, size):
            (low,) = struct.unpack_from("<I", table, start + 8)
            high = struct.unpack_from("<I", table, start + 0x28)[0] if size >= 64 else 0
            self.tables.append(low | high << 32)

    def inode(self, number: int) -> Inode:
        """The inode of that number."""
        if not 0 < number <= self.inodes:
            raise UnreadableError(f"damaged ext4: there is no inode {number}")
        group, index = divmod(number - 1, self.per_group)
        raw = self.blob.read(self.tables[group] * self.block + index * self.inode_size, self.inode_size)
        if len(raw) != self.inode_size:
            raise UnreadableError(f"damaged ext4: inode {number} lies beyond the end")
        return Inode(raw)

    def walk(self) -> Iterator[tuple[bytes, int, Inode]]:
        """Path, number and inode of everything, folders before what they hold, in the order on disk."""
        todo = [(b"/", _ROOT)]
        seen = set()
        while todo:
            folder, number = todo.pop()
            if number in seen:
                raise UnreadableError(f"damaged ext4: the folder {shown(folder)} is its own parent or has two")
            seen.add(number)
            inode = self.inode(number)
            if stat.S_IFMT(inode.mode) != stat.S_IFDIR:
                raise UnreadableError(f"damaged ext4: {shown(folder)} is no folder")
            if number == _ROOT:
                yield folder, number, inode
            for name, child in self._names(inode):
                path = folder.rstrip(b"/") + b"/" + name
                node = self.inode(child)
                yield path, child, node
                if stat.S_IFMT(node.mode) == stat.S_IFDIR:
                    todo.append((path, child))

    def _names(self, inode: Inode) -> Iterator[tuple[bytes, int]]:
        if inode.size > _MOST_FOLDER_BYTES:
            raise UnreadableError(f"damaged ext4: a folder of {inode.size} bytes")
        data = self.content(inode).read()
        position = 0
        while position + 8 <= len(data):
            number, length, size = struct.unpack_from("<IHB", data, position)
            if length < 8 or position + 8 + size > len(data):
                raise UnreadableError("damaged ext4: a folder's entry has an impossible length")
            name = data[position + 8 : position + 8 + size]
            if number and name not in (b".", b".."):
                yield name, number
            position += length

    def content(self, inode: Inode) -> Blob:
        """A file's or folder's bytes."""
        if inode.flags & _FLAG_INLINE:
            raise UnreadableError("ext4 with inline data is not read here")
        if not inode.flags & _FLAG_EXTENTS:
            if inode.size == 0:
                return Blob(self.blob.path, ())
            raise UnreadableError("ext2 or ext3: only files in extents are read here")
        pieces: list[Blob] = []
        position = 0
        for logical, count, physical in self._extents(inode.raw[0x28:0x64], 0):
            if logical < position or (physical is not None and physical + count > self.blocks):
                raise UnreadableError("damaged ext4: an extent lies where none can be")
            gap = Blob(self.blob.path, [(None, (logical - position) * self.block)])
            here = Blob(self.blob.path, [(None, count * self.block)])
            pieces += [gap, here if physical is None else self.blob.slice(physical * self.block, count * self.block)]
            position = logical + count
        whole = Blob(self.blob.path, ()).joined(pieces)
        return whole.padded(max(0, inode.size - whole.size)).slice(0, inode.size)

    def _extents(self, node: bytes, level: int) -> Iterator[tuple[int, int, int | None]]:
        """First block in the file, number of blocks, and where they lie (None: never written, zeros)."""
        magic, entries, _, depth = struct.unpack_from("<HHHH", node)
        if magic != 0xF30A or level > 5 or 12 + entries * 12 > len(node):
            raise UnreadableError("damaged ext4: this is no extent tree")
        for index in range(entries):
            if depth:
                _, low, high, _ = struct.unpack_from("<IIHH", node, 12 + index * 12)
                yield from self._extents(self.blob.read((low | high << 32) * self.block, self.block), level + 1)
            else:
                logical, count, high, low = struct.unpack_from("<IHHI", node, 12 + index * 12)
                yield (logical, count - 32768, None) if count > 32768 else (logical, count, low | high << 32)

    def link(self, inode: Inode) -> bytes:
        """Where a symbolic link points to."""
        fast = inode.size < 60 and not inode.flags & _FLAG_EXTENTS
        return inode.raw[0x28 : 0x28 + inode.size] if fast else self.content(inode).slice(0, 4096).read()

    def stored_attributes(self, inode: Inode) -> tuple[bytes, bytes]:
        """The two places of the extended attributes: what follows the inode, and their block; empty when not there."""
        block = inode.u32(0x68) | inode.u16(0x76) << 32
        inside = inode.raw[0x80 + inode.extra :] if inode.extra else b""
        return inside, self.blob.read(block * self.block, self.block) if block else b""

    def attributes(self, inode: Inode) -> dict[str, bytes]:
        """The extended attributes by their full names, sorted, as getxattr(2) gives them."""
        inside, outside = self.stored_attributes(inode)
        found: dict[str, bytes] = {}
        if inside[:4] == _ATTRIBUTES:
            found |= dict(_attributes(inside, first=4, origin=4))
        if outside:
            if outside[:4] != _ATTRIBUTES:
                raise UnreadableError("damaged ext4: a block of extended attributes has no magic number")
            found |= dict(_attributes(outside, first=_ATTRIBUTES_HEADER, origin=0))
        return dict(sorted(found.items()))


def _attributes(data: bytes, first: int, origin: int) -> Iterator[tuple[str, bytes]]:
    """Name and value of each extended attribute.

    Args:
        first: where the first entry begins.
        origin: what values are counted from.
    """
    position = first
    while position + 16 <= len(data) and data[position : position + 4] != bytes(4):
        length, index, offset, inode, size = struct.unpack_from("<BBHII", data, position)
        name = data[position + 16 : position + 16 + length]
        value = data[origin + offset : origin + offset + size]
        if inode or index not in _ATTRIBUTE_NAMES or len(value) != size or len(name) != length:
            raise UnreadableError("ext4: an extended attribute is damaged, or of a kind that is not read here")
        full = _ATTRIBUTE_NAMES[index] + name.decode()
        yield full, _access_list(value) if full.startswith("system.posix_acl") else value
        position += 16 + -(-length // 4) * 4


def _access_list(stored: bytes) -> bytes:
    """An access control list as getxattr(2) gives it; ext4 leaves out the number where there is no user or group."""
    made, position = struct.pack("<I", 2), 4
    while position < len(stored):
        tag, permissions = struct.unpack_from("<HH", stored, position)
        named = tag in (2, 8)  # ACL_USER, ACL_GROUP
        (number,) = struct.unpack_from("<I", stored, position + 4) if named else (0xFFFFFFFF,)
        made += struct.pack("<HHI", tag, permissions, number)
        position += 8 if named else 4
    return made


def _entry(reader: Ext4, inode: Inode) -> Entry:
    kind = kind_of(inode.mode)
    content, link, other = None, "", {}
    if kind == "file":
        content = reader.content(inode)
    elif kind == "link":
        link = shown(reader.link(inode))
    elif "device" in kind:
        other["device number"] = f"{inode.u32(0x28):#x} {inode.u32(0x2C):#x}"
    inside, outside = reader.stored_attributes(inode)
    # Header of the block: its reference count and checksum say nothing of the attributes themselves.
    if inside.strip(b"\0") or outside:
        other["extended attributes"] = digest_bytes(inside + outside[_ATTRIBUTES_HEADER:])
    other["flags"] = f"{inode.flags:#x}"
    other["links"] = str(inode.links)
    return Entry(kind, stat.S_IMODE(inode.mode), inode.uid, inode.gid, inode.times(), content, link, other)
