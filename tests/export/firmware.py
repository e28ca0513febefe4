"""UEFI's variables in the file that OVMF keeps them in: enough to tell a machine what to boot.

Formats: EDK2's MdeModulePkg/Include/Guid/VariableFormat.h (authenticated variables); the UEFI specification, chapters
"Boot Manager" (load options) and "Device Path Protocol" (the node with a URI, and its short form).
"""

from __future__ import annotations

import struct
from uuid import UUID

_GLOBAL = UUID("8be4df61-93ca-11d2-aa0d-00e098032b8c")  # EFI_GLOBAL_VARIABLE
_HEADER = struct.Struct("<HBBIQ16sIII16s")
_START, _ADDED = 0x55AA, 0x3F
_PERSISTENT, _BOOT, _RUNTIME = 1, 2, 4


def booting_from(store: bytes, url: str) -> bytes:
    """A copy of a store of variables whose machine boots what lies at ``url``, and nothing else before."""
    node = struct.pack("<BBH", 3, 24, 4 + len(url)) + url.encode()
    path = node + struct.pack("<BBH", 0x7F, 0xFF, 4)
    active = 1
    option = struct.pack("<IH", active, len(path)) + _text("network") + path
    return _with(_with(store, "Boot0000", option), "BootOrder", struct.pack("<H", 0))


def _with(store: bytes, name: str, value: bytes) -> bytes:
    position = _end(store)
    raw = _text(name)
    kind = _PERSISTENT | _BOOT | _RUNTIME
    head = _HEADER.pack(_START, _ADDED, 0, kind, 0, bytes(16), 0, len(raw), len(value), _GLOBAL.bytes_le)
    record = head + raw + value
    return store[:position] + record + store[position + len(record) :]


def _end(store: bytes) -> int:
    """Where the next variable goes: behind the headers of volume and store, and behind those that are there."""
    position = int.from_bytes(store[48:50], "little") + 28
    while store[position : position + 2] == struct.pack("<H", _START):
        *_, name, value, _ = _HEADER.unpack_from(store, position)
        position = -(-(position + _HEADER.size + name + value) // 4) * 4
    return position


def _text(text: str) -> bytes:
    return f"{text}\0".encode("utf-16-le")
