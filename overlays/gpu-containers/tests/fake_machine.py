"""A root folder that looks, to who asks for GPUs, like a machine with NVIDIA's driver.

Runs with Python alone: the tests of an image run this file in it.
"""

import os
import platform
import stat
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

VERSION = "550.163.01"
# Names to look for, and files without the version: nvidia-alternative's postinst and libcuda1.
LIBRARIES = {
    "libcuda.so": "libcuda.so",
    "libcuda.so.1": "libcuda.so",
    "libnvidia-ml.so.1": "libnvidia-ml.so",
    "libnvidia-ptxjitcompiler.so.1": "libnvidia-ptxjitcompiler.so",
}
NODES = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset")
MULTIARCH = f"{platform.machine()}-linux-gnu"
E_MACHINE = {"x86_64": 62, "aarch64": 183}
# kernel-open/nvidia/nv-procfs.c, nv_procfs_read_gpu_info.
INFORMATION = """\
Model: \t\t NVIDIA A100-SXM4-40GB
IRQ:   \t\t 255
GPU UUID: \t {uuid}
Video BIOS: \t 92.00.36.00.01
Bus Type: \t PCIe
DMA Size: \t 47 bits
DMA Mask: \t 0x7fffffffffff
Bus Location: \t {location}
Device Minor: \t {minor}
GPU Firmware: \t 550.163.01
GPU Excluded:\t {excluded}
"""


def uuid(number: int) -> str:
    """A GPU's UUID, as the driver writes it."""
    return f"GPU-{number:08x}-1111-2222-3333-444455556666"


def information(location: str, minor: int, excluded: str = "No") -> str:
    """What the driver tells of a GPU."""
    return INFORMATION.format(uuid=uuid(minor), location=location, minor=minor, excluded=excluded)


def library(soname: str) -> bytes:
    """A shared library that the linker loads, with a name and nothing in it (elf(5))."""
    names = b"\0" + soname.encode() + b"\0"
    names += b"\0" * (-len(names) % 8)
    headers = 64 + 3 * 56
    symbols = headers + len(names)
    table = symbols + 24
    dynamic = table + 16
    # DT_HASH, DT_STRTAB, DT_SYMTAB, DT_STRSZ, DT_SYMENT, DT_SONAME, DT_NULL
    tags = [(4, table), (5, headers), (6, symbols), (10, len(names)), (11, 24), (14, 1), (0, 0)]
    size = dynamic + 16 * len(tags)
    # Three program headers: all of it loaded (PT_LOAD), PT_DYNAMIC, and a stack that holds no code (PT_GNU_STACK).
    segments = [(1, 0, size, 0x1000), (2, dynamic, 16 * len(tags), 8), (0x6474E551, 0, 0, 16)]
    identity = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header = struct.pack("<HHIQQQIHHHHHH", 3, E_MACHINE[platform.machine()], 1, 0, 64, 0, 0, 64, 56, 3, 64, 0, 0)
    programs = [struct.pack("<IIQQQQQQ", kind, 6, at, at, at, long, long, align) for kind, at, long, align in segments]
    hashes = struct.pack("<IIII", 1, 1, 0, 0)
    return identity + header + b"".join(programs) + names + bytes(24) + hashes + _pairs(tags)


def _pairs(tags: Sequence[tuple[int, int]]) -> bytes:
    return b"".join(struct.pack("<QQ", *tag) for tag in tags)


def node(path: Path) -> None:
    """A character device; where nobody may make one, a link to one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        path.symlink_to("/dev/null")


def install(root: Path, version: str = VERSION, libraries: Mapping[str, str] = LIBRARIES) -> None:
    """The driver's user space as Debian has it, behind alternatives, and the linker's cache."""
    real = root / f"usr/lib/{MULTIARCH}/nvidia/current"
    alternatives = root / "etc/alternatives"
    for folder in (real, alternatives, root / "usr/bin", root / "var/cache/ldconfig"):
        folder.mkdir(parents=True, exist_ok=True)
    if not (root / "lib").is_symlink():
        (root / "lib").symlink_to("usr/lib")
    for soname, stem in libraries.items():
        (real / f"{stem}.{version}").write_bytes(library(f"{stem}.1"))
        alternative = alternatives / f"nvidia--{soname}-{MULTIARCH}"
        alternative.symlink_to(f"/usr/lib/{MULTIARCH}/nvidia/current/{stem}.{version}")
        (root / f"usr/lib/{MULTIARCH}/{soname}").symlink_to(f"/etc/alternatives/{alternative.name}")
    (real / "nvidia-smi").write_text("#!/bin/sh\necho fake\n")
    (real / "nvidia-smi").chmod(0o755)
    (root / "usr/bin/nvidia-smi").symlink_to(f"/usr/lib/{MULTIARCH}/nvidia/current/nvidia-smi")
    (root / "etc/ld.so.conf").write_text(f"/usr/lib/{MULTIARCH}\n")
    remember(root)


def remember(root: Path) -> None:
    """Make the linker's cache anew."""
    subprocess.run(["/sbin/ldconfig", "-r", str(root)], check=True)


def drive(root: Path, gpus: Mapping[str, str], version: str = VERSION) -> None:
    """A loaded module with these GPUs: place on the bus, and the text of the file ``information``."""
    driver = root / "proc/driver/nvidia"
    (driver / "gpus").mkdir(parents=True)
    told = f"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {version}  Release Build  (root@)  Tue Apr  8\n"
    (driver / "version").write_text(told + "GCC version:  gcc version 14.2.0 (Debian 14.2.0-19)\n")
    for minor, (location, text) in enumerate(gpus.items()):
        (driver / "gpus" / location).mkdir()
        (driver / "gpus" / location / "information").write_text(text)
        node(root / f"dev/nvidia{minor}")
    for name in NODES:
        node(root / "dev" / name)


def main() -> None:
    """A machine with two GPUs in the folder that the command line names."""
    root = Path(sys.argv[1])
    install(root)
    drive(
        root,
        {location: information(location, minor) for minor, location in enumerate(("0000:07:00.0", "0000:0f:00.0"))},
    )


if __name__ == "__main__":
    main()
