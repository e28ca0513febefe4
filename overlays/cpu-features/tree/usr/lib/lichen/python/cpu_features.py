"""What the processors offer for arithmetic on many numbers at once, as they and the kernel tell it."""

import argparse
import ctypes
import json
import mmap
import os
import platform
import re
import struct
from collections.abc import Callable, Collection
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
# Names that /proc/cpuinfo has for them, by what Python calls the machine.
VECTOR: dict[str, re.Pattern[str]] = {
    "x86_64": re.compile(r"sse4_2|avx.*|fma|f16c|amx_.*"),
    "aarch64": re.compile(r"asimd.*|sve.*|sme.*|bf16|i8mm"),
    "riscv64": re.compile(r"v|zv.*|zfh|zfhmin"),
}
LIBC = ctypes.CDLL(None, use_errno=True)
# From the kernel's include/uapi/linux/prctl.h.
PR_SVE_GET_VL, PR_SVE_VL_LEN_MASK = 51, 0xFFFF
PR_RISCV_V_GET_CONTROL, PR_RISCV_V_VSTATE_CTRL_CUR_MASK, PR_RISCV_V_VSTATE_CTRL_OFF = 70, 3, 1
# From arch/riscv/include/uapi/asm/hwprobe.h and unistd.h.
SYS_RISCV_HWPROBE, RISCV_HWPROBE_KEY_IMA_EXT_0, RISCV_HWPROBE_IMA_V = 258, 4, 1 << 2
# csrr a0, vlenb; ret
READ_VLENB = struct.pack("<II", 0xC2202573, 0x00008067)


def extensions(cpuinfo: str, machine: str) -> tuple[str, ...]:
    """Vector extensions that every processor has, sorted; of an unknown kind of machine none."""
    wanted = VECTOR.get(machine)
    if wanted is None:
        return ()
    found = [names for line in cpuinfo.splitlines() if (names := _names(line, machine))]
    common = set.intersection(*found) if found else set()
    return tuple(sorted(name for name in common if wanted.fullmatch(name)))


def _names(line: str, machine: str) -> set[str]:
    key, _, value = (part.strip() for part in line.partition(":"))
    if machine == "riscv64":
        # rv64imafdcv_zicsr_zve32f…: single letters first, longer names behind underscores. "hart isa" is this
        # processor's, "isa" what all have; a kernel before 6.4 has only the latter.
        if key not in {"isa", "hart isa"}:
            return set()
        letters, *names = value.removeprefix("rv64").split("_")
        return {*letters, *names}
    return set(value.split()) if key in {"flags", "Features"} else set()


def vector_bits(machine: str, names: Collection[str]) -> int | None:
    """Length of a vector register in bits; None where there is none, or none that we know of."""
    if machine == "riscv64":
        return 8 * _run(READ_VLENB) if "v" in names and riscv_vector_allowed() else None
    if machine == "aarch64" and "sve" in names:
        return 8 * (LIBC.prctl(PR_SVE_GET_VL, 0, 0, 0, 0) & PR_SVE_VL_LEN_MASK)
    lengths = {"avx512f": 512, "avx2": 256, "sse4_2": 128, "asimd": 128}
    return max((bits for name, bits in lengths.items() if name in names), default=None)


def riscv_hwprobe_has_vector() -> bool:
    """Whether riscv_hwprobe(2) says that all processors have the extension V."""
    pair = (ctypes.c_uint64 * 2)(RISCV_HWPROBE_KEY_IMA_EXT_0, 0)
    failed = LIBC.syscall(SYS_RISCV_HWPROBE, ctypes.byref(pair), ctypes.c_size_t(1), ctypes.c_size_t(0), None, 0)
    return not failed and bool(pair[1] & RISCV_HWPROBE_IMA_V)


def riscv_vector_allowed() -> bool:
    """Whether this process may use vectors; where the kernel lets it not, an instruction of V ends the process.

    QEMU's emulator of single programs has no such control, and lets everybody.
    """
    control = LIBC.prctl(PR_RISCV_V_GET_CONTROL, 0, 0, 0, 0)
    forbidden = control >= 0 and control & PR_RISCV_V_VSTATE_CTRL_CUR_MASK == PR_RISCV_V_VSTATE_CTRL_OFF
    return riscv_hwprobe_has_vector() and not forbidden


def _run(code: bytes) -> int:
    """What a function of machine code returns. The length of RISC-V's vectors is told by no file and no call.

    The code is a file in memory: no page is writable and executable, and the kernel keeps the instruction cache right.
    """
    with os.fdopen(os.memfd_create("code"), "wb", buffering=0) as file:
        file.write(code)
        how = (ctypes.c_size_t(mmap.PAGESIZE), mmap.PROT_READ | mmap.PROT_EXEC, mmap.MAP_PRIVATE, file.fileno())
        LIBC.mmap.restype = ctypes.c_void_p
        address = LIBC.mmap(None, *how, ctypes.c_long(0))
    if address == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), "cannot map code")
    function: Callable[[], int] = ctypes.CFUNCTYPE(ctypes.c_long)(address)
    return function()


def blas() -> str | None:
    """Which of its kernels OpenBLAS chose for this processor; None without OpenBLAS."""
    try:
        library = ctypes.CDLL("libopenblas.so.0")
    except OSError:
        return None
    library.openblas_get_corename.restype = ctypes.c_char_p
    name: bytes = library.openblas_get_corename()
    return name.decode()


def report() -> dict[str, object]:
    """All of it, for :mod:`json`."""
    machine = platform.machine()
    names = extensions(CPUINFO.read_text(encoding="utf-8"), machine)
    found: dict[str, object] = {
        "machine": machine,
        "processors": os.cpu_count(),
        "extensions": names,
        "vector_bits": vector_bits(machine, names),
        "blas": blas(),
    }
    if machine == "riscv64":
        found |= {"hwprobe": riscv_hwprobe_has_vector(), "allowed": riscv_vector_allowed()}
    return found


def main() -> None:
    """Print the report, one line each or as JSON."""
    parser = argparse.ArgumentParser(prog="cpu-features", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    found = report()
    if parser.parse_args().json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name}: {' '.join(value) or 'none' if isinstance(value, tuple) else value}")


if __name__ == "__main__":
    main()
