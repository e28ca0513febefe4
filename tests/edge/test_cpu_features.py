"""Reading /proc/cpuinfo of processors that are not here, and asking the one that is."""

from __future__ import annotations

import platform

import pytest
from cpu_features import CPUINFO, READ_VLENB, extensions, report, vector_bits

RISCV = """\
processor\t: 0
hart\t\t: 0
isa\t\t: rv64imafdcv_zicsr_zve32f_zve64d_zvfh_zvkb_zba
mmu\t\t: sv57
hart isa\t: rv64imafdcv_zicsr_zve32f_zve64d_zvfh_zvkb_zba
"""
WITHOUT = "isa\t\t: rv64imafdc_zicsr_zba\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd evtstrm aes crc32 asimdhp cpuid asimddp sve i8mm bf16\n"
PC = "flags\t\t: fpu sse sse4_1 sse4_2 avx fma avx2 avx512f avx512_vnni amx_int8\n"


@pytest.mark.parametrize(
    ("machine", "text", "found"),
    [
        ("riscv64", RISCV, ("v", "zve32f", "zve64d", "zvfh", "zvkb")),
        ("riscv64", WITHOUT, ()),
        ("aarch64", ARM, ("asimd", "asimddp", "asimdhp", "bf16", "i8mm", "sve")),
        ("x86_64", PC, ("amx_int8", "avx", "avx2", "avx512_vnni", "avx512f", "fma", "sse4_2")),
        ("s390x", "features\t: vx\n", ()),
        ("riscv64", "", ()),
    ],
)
def test_vector_extensions_are_found(machine: str, text: str, found: tuple[str, ...]) -> None:
    assert extensions(text, machine) == found


def test_only_what_every_processor_has_counts() -> None:
    """Chips of unlike processors run a program now here, now there."""
    assert extensions(RISCV + WITHOUT, "riscv64") == ()


def test_length_is_that_of_the_widest_extension() -> None:
    assert vector_bits("x86_64", ("avx2", "avx512f", "sse4_2")) == 512
    assert vector_bits("aarch64", ("asimd",)) == 128
    assert vector_bits("riscv64", ()) is None
    assert vector_bits("x86_64", ()) is None


def test_code_reads_the_register() -> None:
    """csrrs rd=a0, csr=0xc22 (vlenb), rs1=zero; then jalr zero, 0(ra). RISC-V Instruction Set Manual, volume I."""
    read, back = READ_VLENB[:4], READ_VLENB[4:]
    word = int.from_bytes(read, "little")
    assert (word >> 20, word >> 15 & 31, word >> 12 & 7, word >> 7 & 31, word & 127) == (0xC22, 0, 0b010, 10, 0b1110011)
    assert int.from_bytes(back, "little") == 0x8067


def test_this_machine_is_told() -> None:
    told = report()
    assert told["machine"] == platform.machine()
    assert told["extensions"] == extensions(CPUINFO.read_text(), platform.machine())
