"""Records of the BPF sensor, from bytes made here."""

from __future__ import annotations

import os
import random
import re
import struct

import pytest
from lichen_guard import record as layout
from lichen_guard.event import Event, Process
from lichen_guard.places import PREFIX_LIMIT
from lichen_guard.record import HEAD, KINDS, RecordError, event, parse
from lichen_guard.watch import Interest

from tests.conftest import REPOSITORY
from tests.guard.records import record

SILENT = {"fork", "script", "rights"}
HEADER = (REPOSITORY.overlays / "security-agent/bpf/lichen-guard.h").read_text()


def told(data: bytes) -> Event:
    return event(parse(data), Process(1), "")


def test_numbers_are_those_of_the_header() -> None:
    kinds = re.findall(r"^\tGUARD_KIND_(\w+),$", HEADER, re.MULTILINE)
    assert [kind.lower() for kind in kinds] == list(KINDS)
    defined = {name: int(value) for name, value in re.findall(r"^#define (\w+) (\d+)", HEADER, re.MULTILINE)}
    for interest in Interest:
        assert defined[f"INTEREST_{interest.name}"] == interest
    for name in ("EXEC_IN_MEMORY", "EXEC_SCRIPT", "SETATTR_MODE", "SETATTR_OWNER"):
        assert defined[name] == getattr(layout, name)
    assert defined["PREFIX_SIZE"] == PREFIX_LIMIT
    assert HEADER.index("GUARD_KIND_FORK") > HEADER.index("GUARD_KIND_CAPSET"), "those after it wake nobody"


def test_the_head_is_that_of_the_header() -> None:
    body = re.search(r"struct guard_record \{(.*?)\};", HEADER, re.DOTALL)
    assert body
    letters = {"__u32": "I", "__u16": "H", "__u64": "Q", "char": "s"}
    fields = re.findall(r"^\t(__u\d+|char) \w+(?:\[(\d+)\])?;", body[1], re.MULTILINE)
    assert HEAD.size == struct.calcsize("<" + "".join(f"{count}{letters[kind]}" for kind, count in fields))


def test_the_head() -> None:
    taken = parse(record("bpf", numbers=(5,), name=b"sh\0left over", thread=9, parent=3, parent_started=8, denied=4))
    assert (taken.kind, taken.name, taken.time, taken.started, taken.cgroup) == ("bpf", "sh", 5000, 1000, 1)
    assert (taken.pid, taken.thread, taken.parent, taken.parent_started) == (4_000_001, 9, 3, 8)
    assert (taken.uid, taken.gid, taken.real_uid, taken.login_uid) == (1000, 100, 1001, 0xFFFFFFFF)
    assert (taken.session, taken.tty, taken.denied, taken.numbers[0]) == (7, 136 << 20 | 3, 4, 5)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (record("open", b"/a\xff", numbers=(2,)), {"path": "/a\udcff", "flags": 2}),
        (record("create", b"/d", numbers=(0o40755,)), {"path": "/d", "mode": 0o40755}),
        (record("rename", b"/a", b"/b"), {"path": "/a", "target": "/b"}),
        (record("setattr", b"/a", numbers=(1, 0o4755)), {"mode": 0o4755, "owner": None}),
        (record("setattr", b"/a", numbers=(2, 0, 5)), {"mode": None, "owner": 5}),
        (record("setattr", b"/a", numbers=(2, 0, 0xFFFFFFFF, 6)), {"mode": None, "owner": None}),
        (
            record("connect", bytes([10, 0, 0, 1]), numbers=(2, 6, 443, 50000)),
            {"family": "ipv4", "transport": "tcp", "address": "10.0.0.1", "port": 443, "local_port": 50000},
        ),
        (
            record("connect", bytes(10) + b"\xff\xff\x7f\0\0\1", numbers=(10, 17, 53)),
            {"family": "ipv4", "transport": "udp", "address": "127.0.0.1", "port": 53},
        ),
        (record("listen", bytes(15) + b"\1", numbers=(10, 262, 80)), {"address": "::1", "transport": "tcp"}),
        (record("connect", b"/run/x\0\0\0", numbers=(1,)), {"family": "unix", "address": "/run/x", "transport": ""}),
        (record("connect", b"\0name", numbers=(1,)), {"address": "@name"}),
        (record("connect", b"", numbers=(1,)), {"address": ""}),
        (
            record("mount", b"/mnt", b"none", b"tmpfs", numbers=(7,)),
            {"path": "/mnt", "target": "none", "type": "tmpfs"},
        ),
        (record("setuid", numbers=(0, 33)), {"old_uid": 0, "new_uid": 33}),
        (record("module", b""), {"path": ""}),
        (record("setns", numbers=(0x40000000,)), {"flags": 0x40000000}),
        (record("signal", numbers=(15,)), {"number": 15}),
        (record("setgid", numbers=(1000, 42)), {"old_gid": 1000, "new_gid": 42}),
        (record("setgroups", numbers=(3,)), {"number": 3}),
        (record("capset", numbers=(1 << 13, 1 << 7)), {"gained": 1 << 13 | 1 << 39}),
        (record("ptrace", numbers=(77,)), {"target_pid": 77}),
    ],
)
def test_events(data: bytes, expected: dict[str, object]) -> None:
    made = told(data)
    assert {name: getattr(made, name) for name in expected} == expected


def test_an_exec_with_rights_of_its_file() -> None:
    strings = (b"/usr/bin/su", b"su", b"/", b"su\0")
    rights = parse(record("rights", numbers=(1000, 0, 1000, 1 << 21, 1)))
    made = event(parse(record("exec", *strings)), Process(1), "", rights)
    assert (made.old_uid, made.new_uid, made.old_gid, made.new_gid) == (1000, 0, 1000, 100)
    assert made.gained == 1 << 21 | 1 << 32


def test_a_long_name_keeps_every_byte() -> None:
    name = b"/" + bytes(range(1, 256)) * 16
    assert os.fsencode(told(record("open", name)).path) == name


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "0 bytes"),
        (record("bpf")[:-1], "119 bytes"),
        (record("open", b"/a")[:-1], "there are"),
        (record("open"), "0 strings"),
        (record("bpf", b"x"), "1 strings"),
        (struct.pack("<I", HEAD.size - 1) + record("bpf")[4:], "says it has"),
        (record("bpf")[:4] + b"\xff\xff" + record("bpf")[6:], "unknown kind"),
        (record("open", b"/abc").replace(b"\4\0/abc", b"\5\0/abc"), "beyond"),
        (record("listen", b"\1\2\3", numbers=(2,)), "address"),
    ],
)
def test_what_is_no_record(data: bytes, why: str) -> None:
    with pytest.raises(RecordError, match=why):
        told(data)


@pytest.mark.parametrize("seed", range(4))
def test_any_bytes(seed: int) -> None:
    """Each is an event or a RecordError, nothing else."""
    chance = random.Random(seed)
    whole = [record(kind, *[b"/x"] * layout._STRINGS.get(kind, 0)) for kind in KINDS if kind not in SILENT]
    understood = 0
    for _ in range(3000):
        data = bytearray(chance.choice(whole) if chance.random() < 0.8 else chance.randbytes(chance.randrange(300)))
        for _ in range(chance.randrange(4)):
            if data:
                data[chance.randrange(len(data))] = chance.randrange(256)
        if chance.random() < 0.2:
            del data[chance.randrange(len(data) + 1) :]
        try:
            taken = parse(bytes(data))
            if taken.kind not in SILENT:
                event(taken, Process(1), "")
        except RecordError:
            continue
        understood += 1
    assert understood > 500
