"""The machine's processors and NUMA nodes, as the programs want to know them."""

from __future__ import annotations

import re
import struct
from pathlib import Path

CPUS, NUMA, STALL = 1024, 64, 16
_NODES = Path("/sys/devices/system/node")
_NODE = re.compile(r"node([0-9]+)")


def parse_list(words: str) -> list[int]:
    """Numbers of a list as the kernel writes them, ``0-3,8``.

    Raises:
        ValueError: it is none.
    """
    numbers: list[int] = []
    for part in words.strip().split(","):
        if part:
            first, _, last = part.partition("-")
            numbers += range(int(first), int(last or first) + 1)
    return numbers


def nodes(folder: Path = _NODES) -> dict[int, int]:
    """Node of each processor; empty when the kernel knows no nodes. Of nodes beyond the 64th it is node 0."""
    found: dict[int, int] = {}
    for path in sorted(folder.glob("node*")):
        match = _NODE.fullmatch(path.name)
        if match:
            node = int(match[1]) if int(match[1]) < NUMA else 0
            found |= dict.fromkeys(parse_list((path / "cpulist").read_text()), node)
    return found


def pack(cpus: int, node_of: dict[int, int], stall: str) -> bytes:
    """``struct lichen_machine``.

    Args:
        cpus: how many there can be.
        node_of: the node of each; those that are missing are of node 0.
        stall: name of the tasks to forget, in tests; otherwise "".

    Raises:
        ValueError: there are more processors than the programs know, or the name is too long.
    """
    if cpus > CPUS:
        raise ValueError(f"the machine can have {cpus} processors, and the programs know {CPUS}")
    if len(stall.encode()) >= STALL:
        raise ValueError(f"a task's name has less than {STALL} bytes: {stall}")
    each = [node_of.get(cpu, 0) for cpu in range(cpus)]
    sizes = [each.count(node) for node in range(NUMA)]
    numbers = each + [0] * (CPUS - cpus)
    return struct.pack(f"<II{STALL}s{NUMA}H{CPUS}B", cpus, max(each) + 1, stall.encode(), *sizes, *numbers)
