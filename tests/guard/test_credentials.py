"""Who is root without anybody having asked for it, from records made here."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from lichen_guard.credentials import Credentials
from lichen_guard.ours import objects
from lichen_guard.record import parse

from tests.guard.records import record

PID, CHILD = 4_000_001, 4_000_002


def fork(uid: int, started: int = 1000) -> bytes:
    return record("fork", pid=CHILD, started=2000, numbers=(PID, started & 0xFFFFFFFF, started >> 32), uid=uid)


ME, ROOT = record("bpf", uid=1000), record("bpf", uid=0)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([ME, ROOT], 1000),
        ([ME, ROOT, ROOT], None),
        ([ME, fork(0)], 1000),
        ([ME, fork(1000), record("exec", *[b"/x"] * 4, pid=CHILD, started=2000, uid=0)], 1000),
        ([ME, record("setuid", numbers=(1000, 0)), ROOT], None),
        ([ME, record("setuid", numbers=(1000, 0)), record("setuid", uid=0, numbers=(0, 1000)), ROOT], 1000),
        ([ME, record("rights", numbers=(1000, 0)), record("exec", *[b"/x"] * 4, uid=0)], None),
        ([ME, record("rights", numbers=(1000, 1000)), record("exec", *[b"/x"] * 4, uid=0)], 1000),
        ([ROOT], None),
        ([ROOT, ROOT], None),
        ([ROOT, fork(0)], None),
        ([ME, record("bpf", uid=0, started=3000)], None),
        ([ME, fork(0, started=3000)], None),
        ([ME, record("bpf", uid=0, lent=True)], None),
        ([ME, record("bpf", uid=0, thread=PID + 1)], None),
    ],
)
def test_becoming_root(told: list[bytes], expected: int | None) -> None:
    credentials = Credentials()
    assert [credentials.follow(parse(one)) for one in told][-1] == expected


def test_what_is_forgotten_is_taken_as_it_comes() -> None:
    credentials = Credentials(limit=1)
    credentials.follow(parse(ME))
    credentials.follow(parse(record("bpf", pid=CHILD)))
    assert credentials.follow(parse(ROOT)) is None
    credentials.forget()
    assert credentials.follow(parse(record("bpf", pid=CHILD, uid=0))) is None


def test_rights_are_those_of_the_next_exec_of_the_same_process() -> None:
    credentials = Credentials()
    credentials.granted(parse(record("rights", numbers=(1000, 0))))
    assert credentials.brought(parse(record("exec", *[b"/x"] * 4, pid=CHILD))) is None
    brought = credentials.brought(parse(record("exec", *[b"/x"] * 4)))
    assert brought
    assert brought.numbers[:2] == (1000, 0)
    assert credentials.brought(parse(record("exec", *[b"/x"] * 4))) is None
    credentials.granted(parse(record("rights", numbers=(1000, 0))))
    assert credentials.brought(parse(record("exec", *[b"/x"] * 4, started=3000))) is None


def test_what_is_open_of_bpf(tmp_path: Path) -> None:
    (tmp_path / "3").write_text("pos:\t0\nmap_type:\t1\nmap_id:\t7\n")
    (tmp_path / "4").write_text("pos:\t0\nlink_type:\ttracing\nlink_id:\t8\nprog_tag:\t0\nprog_id:\t9\n")
    (tmp_path / "5").write_text("pos:\t0\nflags:\t02\n")
    assert set(objects(tmp_path)) == {struct.pack("<II", *pair) for pair in ((14, 7), (30, 8), (13, 9))}
