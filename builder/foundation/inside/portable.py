"""Portable executables (PE): a UKI, a boot loader, a kernel. Their sections, and what is left without a signature.

Format: Microsoft's "PE Format"; what Authenticode leaves out of its digest is checksum, directory entry and table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pefile

from builder.foundation.inside.blob import Blob
from builder.foundation.inside.tree import UnreadableError, shown

_HEAD = 1 << 16  # bytes that hold all headers
_SECURITY = 4  # IMAGE_DIRECTORY_ENTRY_SECURITY
_ALIGNMENT = 8  # of the certificate table; who signs fills up to it with zeros


@dataclass(frozen=True)
class Portable:
    """A portable executable.

    Attributes:
        sections: by name, each as long as its content, without the filling up to the next.
        around: everything else: headers, filling, what follows the sections.
        outside: the same without the signature.
        unsigned: the whole file without its signature.
        signed: whether there is one.
        fields: fields of the headers that do not follow from the sections.
    """

    sections: Mapping[str, Blob]
    around: Blob
    outside: Blob
    unsigned: Blob
    signed: bool
    fields: Mapping[str, str]


def is_portable(blob: Blob) -> bool:
    """Whether a portable executable begins here."""
    head = blob.read(0, 0x40)
    if head[:2] != b"MZ" or len(head) < 0x40:
        return False
    return blob.read(int.from_bytes(head[0x3C:0x40], "little"), 4) == b"PE\0\0"


def read_portable(blob: Blob) -> Portable:
    """Sections and unsigned bytes.

    Raises:
        UnreadableError: damaged or cut short.
    """
    try:
        read = pefile.PE(data=blob.read(0, _HEAD), fast_load=True)
    except pefile.PEFormatError as error:
        raise UnreadableError(f"damaged PE file: {error}") from error
    sections: dict[str, Blob] = {}
    gaps: list[tuple[int, int]] = []
    unsigned, signed = _without_signature(blob, read)
    position = 0
    for section in sorted(read.sections, key=lambda item: int(item.PointerToRawData)):
        start, raw = int(section.PointerToRawData), int(section.SizeOfRawData)
        name = shown(section.Name.rstrip(b"\0"))
        if start + raw > blob.size:
            raise UnreadableError(f"PE file is cut short: section {name} ends beyond {blob.size} bytes")
        content = blob.slice(start, min(raw, int(section.Misc_VirtualSize) or raw))
        sections[_new_name(name, sections)] = content
        if content.size:
            gaps.append((position, start - position))
            position = start + content.size
    gaps.append((position, blob.size))
    nothing = Blob(blob.path, ())
    around, outside = (nothing.joined(whole.slice(*gap) for gap in gaps) for whole in (blob, unsigned))
    end = max((int(section.PointerToRawData + section.SizeOfRawData) for section in read.sections), default=0)
    fields = _fields(read, unsigned, end)
    return Portable(sections, around, outside, unsigned, signed, fields)


def _fields(read: pefile.PE, unsigned: Blob, end: int) -> dict[str, str]:
    """What headers say besides where sections lie and how long they are; ``end`` is where the last one ends."""
    header, optional = read.FILE_HEADER, read.OPTIONAL_HEADER
    after = unsigned.slice(end, unsigned.size)
    return {
        "time stamp": str(header.TimeDateStamp),
        "machine": hex(header.Machine),
        "characteristics": hex(header.Characteristics),
        "entry point": hex(optional.AddressOfEntryPoint),
        "subsystem": str(optional.Subsystem),
        "linker version": f"{optional.MajorLinkerVersion}.{optional.MinorLinkerVersion}",
        "image version": f"{optional.MajorImageVersion}.{optional.MinorImageVersion}",
        "section flags": " ".join(
            f"{shown(item.Name.rstrip(bytes(1)))}:{item.Characteristics:x}" for item in read.sections
        ),
        "DOS program": unsigned.slice(0, int(read.DOS_HEADER.e_lfanew)).digest(),
        # Who signs fills up with zeros.
        "data after sections": after.digest() if any(chunk.strip(b"\0") for chunk in after.chunks()) else "none",
    }


def _new_name(name: str, taken: Mapping[str, Blob]) -> str:
    count = 1
    wanted = name
    while name in taken:
        count += 1
        name = f"{wanted} ({count})"
    return name


def _without_signature(blob: Blob, read: pefile.PE) -> tuple[Blob, bool]:
    """The file as it was before anybody signed it, filled up to a whole number of eight bytes."""
    checksum = int(read.OPTIONAL_HEADER.get_field_absolute_offset("CheckSum"))
    bare = blob.zeroed(checksum, 4)
    signed = False
    if len(read.OPTIONAL_HEADER.DATA_DIRECTORY) > _SECURITY:
        directory = read.OPTIONAL_HEADER.DATA_DIRECTORY[_SECURITY]
        # This one directory entry holds an offset in the file, not a virtual address.
        start, size = int(directory.VirtualAddress), int(directory.Size)
        bare = bare.zeroed(int(directory.get_file_offset()), 8)
        if start and size:
            if start + size > blob.size:
                raise UnreadableError("PE file is cut short: its signature ends beyond the end")
            bare, signed = bare.without(start, size), True
    return bare.padded(-bare.size % _ALIGNMENT), signed
