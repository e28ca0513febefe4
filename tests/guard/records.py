"""Records as the kernel's part makes them."""

from __future__ import annotations

import struct

from lichen_guard.record import HEAD, KINDS


def record(
    kind: str,
    *strings: bytes,
    numbers: tuple[int, ...] = (),
    pid: int = 4_000_001,
    started: int = 1_000,
    parent: int = 0,
    parent_started: int = 0,
    denied: int = 0,
    cgroup: int = 1,
    name: bytes = b"test",
    thread: int | None = None,
    uid: int = 1000,
    lent: bool = False,
) -> bytes:
    """One record, head and strings."""
    body = b"".join(struct.pack("<H", len(text)) + text for text in strings)
    padded = (*numbers, 0, 0, 0, 0, 0)[:5]
    who = (pid, pid if thread is None else thread, parent, 7, uid, 100, 1001, 0xFFFFFFFF, 136 << 20 | 3)
    times = (5_000, started, parent_started, cgroup, denied)
    head: bytes = HEAD.pack(HEAD.size + len(body), KINDS.index(kind), lent, *times, *who, *padded, name)
    return head + body
