"""Guests of a few bytes: EFI programs, made by hand, that print to the serial port and then do one thing.

They boot through the same firmware, disk and console as a Debian image and need nothing but the tools tree.
"""

from __future__ import annotations

import struct
from pathlib import Path

from builder.foundation.process import Runner
from builder.foundation.toolbox import Toolbox

HANG = bytes.fromhex("f4 eb fd")  # halt; again
POWER_OFF = bytes.fromhex("66ba0406 66b80020 66ef") + HANG  # write "soft off" to the ACPI control register
# Enable the power button, poll its status bit, then switch off: what a well-behaved guest does.
OBEY_BUTTON = bytes.fromhex("66ba0206 66b80001 66ef 66ba0006 66ed f6c401 74f5") + POWER_OFF
# Echo what arrives on the serial port, for ever.
ECHO = bytes.fromhex("66bafd03 ec a801 74f7 66baf803 ec ee ebef")


def program(text: str, then: bytes = HANG) -> bytes:
    """An EFI program for amd64 that prints ``text`` on the first serial port, then runs ``then``."""
    data = text.encode()
    # Wait for the transmitter (port 0x3fd, bit 5), send a byte to port 0x3f8, until all are sent.
    send = bytes.fromhex("66bafd03 ec a820 74f7 66baf803 ac ee e2ef")
    body = send + then
    code = (
        b"\xfa\xfc" + b"\x48\x8d\x35" + struct.pack("<i", 5 + len(body)) + b"\xb9" + struct.pack("<I", len(data)) + body
    )
    code += data
    size = -(-len(code) // 512) * 512
    dos = b"MZ".ljust(60, b"\0") + struct.pack("<I", 64)
    coff = b"PE\0\0" + struct.pack("<HHIIIHH", 0x8664, 1, 0, 0, 0, 112 + 128, 0x22)
    optional = struct.pack("<HBBIIIII", 0x20B, 0, 0, size, 0, 0, 0x1000, 0x1000)
    optional += struct.pack("<QIIHHHHHHIIIIHH", 0, 0x1000, 512, 0, 0, 0, 0, 0, 0, 0, 0x1000 + size, 512, 0, 10, 0)
    optional += struct.pack("<QQQQII", 0, 0, 0, 0, 0, 16) + bytes(128)
    section = struct.pack("<8sIIIIIIHHI", b".text", len(code), 0x1000, size, 512, 0, 0, 0, 0, 0x60000020)
    return (dos + coff + optional + section).ljust(512, b"\0") + code.ljust(size, b"\0")


def disk(path: Path, efi: bytes, toolbox: Toolbox) -> Path:
    """A disk image whose firmware starts ``efi``."""
    folder = path.parent
    (folder / "boot.efi").write_bytes(efi)
    script = (
        f"mkfs.vfat -C {path} 4096 >/dev/null && mmd -i {path} ::EFI ::EFI/BOOT "
        f"&& mcopy -i {path} {folder}/boot.efi ::EFI/BOOT/BOOTX64.EFI"
    )
    path.unlink(missing_ok=True)
    Runner().run(toolbox.command(["sh", "-c", script], writable=[folder]))
    return path
