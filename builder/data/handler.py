"""Handlers of the kernel for programs of other architectures (binfmt_misc): how one is asked for, and reads."""

from __future__ import annotations

from dataclasses import dataclass

from builder.data.profile import Architecture

# ELF: 64 bit, little endian, version 1; any ABI and padding; executable or shared object; the machine.
_HEADER = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00"
_MASK = b"\xff" * 7 + b"\x00" + b"\xff" * 8 + b"\xfe\xff\xff\xff"
# O, C: as the program itself would be opened and trusted; P: it hears its own name; F: the emulator is opened now, so
# that it is found from any root folder.
FLAGS = "POCF"


@dataclass(frozen=True)
class Emulated:
    """An architecture whose programs an emulator runs.

    Attributes:
        emulator: of Debian's qemu-user, in the tools tree; statically linked, it needs nothing of the image.
        machine: number in the header of its ELF files (elf(5), e_machine).
    """

    emulator: str
    machine: int

    @property
    def magic(self) -> bytes:
        """How its programs begin."""
        return _HEADER + self.machine.to_bytes(2, "little")


EMULATED: dict[Architecture, Emulated] = {
    "amd64": Emulated("/usr/bin/qemu-x86_64", 62),
    "arm64": Emulated("/usr/bin/qemu-aarch64", 183),
    "riscv64": Emulated("/usr/bin/qemu-riscv64", 243),
}


def rule(architecture: Architecture, interpreter: str) -> str:
    """The line for ``register`` that hands programs of ``architecture`` to ``interpreter``."""
    row = EMULATED[architecture]
    return f":lichen-{architecture}:M::{_escaped(row.magic)}:{_escaped(_MASK)}:{interpreter}:{FLAGS}"


def _escaped(data: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in data)


def handles(text: str, architecture: Architecture) -> bool:
    """Whether a handler, as its file shows it, is for programs of ``architecture``."""
    wanted = EMULATED[architecture].magic.hex()
    return any(line.split() == ["magic", wanted] for line in text.splitlines())


def complaint(text: str) -> str:
    """Why a handler, as its file shows it, does not serve in an image's root folder; empty when it does."""
    lines = text.splitlines()
    if lines[:1] != ["enabled"]:
        return "is disabled"
    flags = next((line.removeprefix("flags:").strip() for line in lines if line.startswith("flags:")), "")
    # Without F the kernel looks the interpreter up inside the image, where there is none.
    return "" if "F" in flags else f"has the flags {flags or 'none'}, not F"
