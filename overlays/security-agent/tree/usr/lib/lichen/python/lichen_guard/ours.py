"""What this process has of the kernel's BPF, by number: whoever else opens that means no good."""

from __future__ import annotations

import os
import re
import struct
from pathlib import Path

from .record import BPF_LINK_GET_FD_BY_ID, BPF_MAP_GET_FD_BY_ID, BPF_PROG_GET_FD_BY_ID

OBJECT = struct.Struct("<II")
_COMMANDS = {
    b"map_id": BPF_MAP_GET_FD_BY_ID,
    b"prog_id": BPF_PROG_GET_FD_BY_ID,
    b"link_id": BPF_LINK_GET_FD_BY_ID,
}
_NUMBER = re.compile(rb"^(map_id|prog_id|link_id):\s*(\d+)$", re.MULTILINE)


def objects(folder: Path = Path("/proc/self/fdinfo")) -> dict[bytes, bytes]:
    """Maps, programs and links that are open here, as the sensor's map of them holds them."""
    found = {}
    for name in os.listdir(folder):
        try:
            said = (folder / name).read_bytes()
        except FileNotFoundError:
            # That of the list itself is closed by now.
            continue
        for kind, number in _NUMBER.findall(said):
            found[OBJECT.pack(_COMMANDS[kind], int(number))] = struct.pack("<I", 1)
    return found
