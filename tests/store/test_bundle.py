"""A bundle carries a store to another machine, and nothing else ever enters a store from one."""

from __future__ import annotations

import array
import fcntl
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tarfile
import termios
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from builder.data.lock import Lock, LockedModel, SuiteIndex, Wheel
from builder.foundation.digest import canonical_json, digest_bytes
from builder.foundation.errors import InputError, LichenError, Problem
from builder.foundation.store import MissingObjectError, Store
from builder.steps.bundle import read_bundle, write_bundle

from .conftest import Recorder
from .mirror import locked
from .test_processes import wait_until

SHA = "0" * 64
BLOCK = 512
# One that fills its blocks to the end, one of several pieces, small ones.
CONTENTS = [random.Random(number).randbytes(size) for number, size in enumerate((BLOCK * 3, 1_200_000, 1, 700))]


@dataclass
class Made:
    """A store with all that a lock names, and the bundle of it."""

    store: Store
    lock: Lock
    path: Path

    @property
    def data(self) -> bytes:
        return self.path.read_bytes()

    @property
    def names(self) -> list[str]:
        """The SHA-256 of all objects, in the bundle's order."""
        return sorted(file.sha256 for file in self.lock.files)


@pytest.fixture
def made(store: Store, tmp_path: Path) -> Made:
    first, second, third, fourth = CONTENTS
    sha = digest_bytes
    wheel = Wheel(name="w", version="1", filename="w-1.whl", size=len(third), sha256=sha(third), uses=("image",))
    lock = Lock(
        profile="small",
        architecture="amd64",
        recipe=SHA,
        resolution=SHA,
        source_date_epoch=1,
        suites=(SuiteIndex(archive="debian", suite="trixie", date="2026-01-01T00:00:00Z", inrelease_sha256=SHA),),
        debs=(locked(first), locked(second, "other")),
        wheels=(wheel,),
        models=(LockedModel(name="m", sha256=sha(fourth), size=len(fourth), target="/m"),),
    )
    for content in CONTENTS:
        (tmp_path / "new").write_bytes(content)
        store.insert(tmp_path / "new", sha(content))
    write_bundle(store, lock, tmp_path / "bundle", Recorder())
    return Made(store, lock, tmp_path / "bundle")


@pytest.fixture
def other(tmp_path: Path) -> Store:
    """The store of a machine without network."""
    return Store(tmp_path / "other")


def kept(store: Store) -> list[str]:
    """What a store has; all of it is good, and nothing is half-written."""
    for entry in store.objects():
        store.verified(entry.sha256, entry.size)
    assert list(store.partials()) == []
    return [entry.sha256 for entry in store.objects()]


def refused(store: Store, made: Made, data: bytes) -> Problem:
    """What is said of a bundle with other bytes; afterwards the whole one works."""
    whole = made.data
    made.path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        read_bundle(store, made.path, Recorder())
    [problem] = caught.value.problems
    assert all((problem.what, problem.where, problem.why, problem.remedy)), problem
    assert problem.where.startswith(str(made.path))
    # What came before the fault stays.
    assert kept(store) == made.names[: len(kept(store))]
    made.path.write_bytes(whole)
    assert read_bundle(store, made.path, Recorder())[0] == made.lock
    assert kept(store) == made.names
    return problem


def test_other_machine_gets_everything(made: Made, other: Store, recorder: Recorder) -> None:
    lock, brought = read_bundle(other, made.path, recorder)
    assert lock == made.lock
    assert list(brought) == kept(other) == made.names
    total = sum(len(content) for content in CONTENTS)
    assert recorder.counts[-1] == (total, total)
    assert recorder.ended == [("import", False)]
    assert read_bundle(other, made.path, recorder) == (made.lock, ())


def test_same_lock_gives_the_same_bytes(made: Made, other: Store, tmp_path: Path) -> None:
    read_bundle(other, made.path, Recorder())
    write_bundle(other, made.lock, tmp_path / "again", Recorder())
    assert (tmp_path / "again").read_bytes() == made.data


def test_it_is_an_ordinary_archive(made: Made, tmp_path: Path) -> None:
    """A person can look into it and take the lock out."""
    listed = subprocess.run(["tar", "-tf", made.path], check=True, capture_output=True, text=True)
    assert (listed.stdout.splitlines(), listed.stderr) == (
        ["bundle.json", "lock.json", *(f"sha256/{name[:2]}/{name}" for name in made.names)],
        "",
    )
    subprocess.run(["tar", "-xf", made.path, "-C", tmp_path, "lock.json"], check=True)
    assert (tmp_path / "lock.json").read_text() == made.lock.text()
    with tarfile.open(made.path) as archive:
        assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in archive} == {(0, 0, 0, "", "", 0o644)}


def test_changed_object_is_replaced(made: Made, other: Store) -> None:
    read_bundle(other, made.path, Recorder())
    path = other.path(made.names[1])
    path.chmod(0o644)
    path.write_bytes(bytes(path.stat().st_size))
    assert read_bundle(other, made.path, Recorder())[1] == (made.names[1],)
    assert kept(other) == made.names


def test_download_that_was_killed_is_no_harm(made: Made, other: Store) -> None:
    partial = other.root / "partial" / made.names[0]
    partial.parent.mkdir(parents=True)
    partial.write_bytes(b"something else")
    read_bundle(other, made.path, Recorder())
    assert kept(other) == made.names


def test_cut_off_anywhere(made: Made, other: Store) -> None:
    data = made.data
    headers = [offset for offset in range(0, len(data), BLOCK) if data[offset + 257 : offset + 262] == b"ustar"]
    assert len(headers) == 6
    ends = {0, 1, BLOCK, len(data) - 1, len(data) - BLOCK, len(data) - 2 * BLOCK}
    ends |= {offset + more for offset in headers[2:] for more in (0, 7, BLOCK, BLOCK + 1)}
    for end in sorted(ends):
        problem = refused(other, made, data[:end])
        want = "the bundle is cut off" if end > headers[1] else "this is not a bundle"
        assert problem.what == want, end
        for entry in list(other.objects()):
            other.remove(entry)


def test_good_objects_before_the_fault_stay(made: Made, other: Store) -> None:
    made.path.write_bytes(made.data[: -3 * BLOCK])  # the last object's last block is gone
    with pytest.raises(InputError) as caught:
        read_bundle(other, made.path, Recorder())
    assert kept(other) == made.names[:-1]
    [problem] = caught.value.problems
    assert problem.where == f"{made.path}: sha256/{made.names[-1][:2]}/{made.names[-1]}"
    assert "what arrived stays" in problem.remedy


def test_every_flipped_bit_is_seen(made: Made, other: Store) -> None:
    chance = random.Random(4)
    data = made.data
    places = {chance.randrange(len(data)) for _ in range(60)} | set(range(0, 6 * BLOCK, 37)) | {len(data) - 1}
    for place in sorted(places):
        flipped = bytearray(data)
        flipped[place] ^= 1 << chance.randrange(8)
        refused(other, made, bytes(flipped))


def test_flipped_bit_of_an_object_names_it(made: Made, other: Store) -> None:
    data = bytearray(made.data)
    data[-3 * BLOCK] ^= 1
    problem = refused(other, made, bytes(data))
    assert problem.what == "the bundle is damaged"
    assert problem.where.endswith(made.names[-1])
    assert "its sha256 is " in problem.why


def member(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, target: str = "") -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(content), kind, target
    info.mode = 0o4777
    header = info.tobuf(tarfile.PAX_FORMAT) if len(name) > 200 else info.tobuf(tarfile.GNU_FORMAT)
    return header + content + bytes(-len(content) % BLOCK)


HOSTILE = {
    "parent": member("../../../etc/passwd", b"root::0:0"),
    "absolute": member("/etc/passwd", b"root::0:0"),
    "unknown": member("sha256/aa/" + "a" * 64, b"stranger"),
    "control": member("\x1b[2J", b"x"),
    "not-utf-8": member("\udcff", b"x"),
    "symlink": member("sha256", kind=tarfile.SYMTYPE, target="/etc"),
    "hard-link": member("sha256/aa", kind=tarfile.LNKTYPE, target="/etc/passwd"),
    "device": member("sha256/aa", kind=tarfile.CHRTYPE),
    "fifo": member("sha256/aa", kind=tarfile.FIFOTYPE),
    "folder": member("sha256/", kind=tarfile.DIRTYPE),
    "sparse": member("sha256/aa", kind=tarfile.GNUTYPE_SPARSE),
    "pax-name": member("x" * 300, b"x"),
    "gnu-name": member("x" * 150, b"x"),
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("place", ["first", "between", "instead-of-an-end", "after-the-end"])
def test_members_that_do_not_belong(made: Made, other: Store, tmp_path: Path, kind: str, place: str) -> None:
    data = made.data
    name = made.names[2].encode()
    at = {
        "first": 0,
        "between": data.index(b"sha256/" + name[:2] + b"/" + name),
        "instead-of-an-end": len(data) - 2 * BLOCK,
        "after-the-end": len(data),
    }[place]
    before = sorted(path for path in tmp_path.rglob("*") if other.root not in path.parents)
    problem = refused(other, made, data[:at] + HOSTILE[kind] + data[at:])
    want = "this is not a bundle" if place == "first" else "the bundle has a member that does not belong there"
    assert problem.what == want
    assert sorted(path for path in tmp_path.rglob("*") if other.root not in path.parents) == sorted(
        {*before, other.root}
    )


def test_object_that_is_a_link(made: Made, other: Store) -> None:
    data = made.data
    name = f"sha256/{made.names[0][:2]}/{made.names[0]}"
    at = data.index(name.encode())
    size = next(file.size for file in made.lock.files if file.sha256 == made.names[0])
    end = at + BLOCK + size + -size % BLOCK
    problem = refused(other, made, data[:at] + member(name, kind=tarfile.SYMTYPE, target="/etc/passwd") + data[end:])
    assert "no plain file; wanted is the plain file" in problem.why


def test_object_of_another_size(made: Made, other: Store) -> None:
    data = made.data
    name = f"sha256/{made.names[0][:2]}/{made.names[0]}"
    at = data.index(name.encode())
    header = tarfile.TarInfo(name)
    header.size = 1 << 60
    problem = refused(other, made, data[:at] + header.tobuf(tarfile.GNU_FORMAT) + data[at + BLOCK :])
    assert problem.what == "the bundle is damaged"
    assert f"it has {1 << 60} bytes, locked are " in problem.why


def rewritten(head: bytes, lock: bytes) -> bytes:
    return member("bundle.json", head) + member("lock.json", lock) + bytes(2 * BLOCK)


def with_head(lock: bytes) -> bytes:
    return rewritten(head_of(lock), lock)


def head_of(lock: bytes, version: object = 1) -> bytes:
    return canonical_json({"format": version, "lock": digest_bytes(lock)}).encode()


Change = Callable[[bytes], bytes]
TEXTS: dict[str, tuple[Change, str, str]] = {
    "later-format": (
        lambda lock: rewritten(head_of(lock, 2), lock),
        "the bundle has another format",
        "its format is 2, this Lichen reads 1",
    ),
    "no-json": (lambda lock: rewritten(b"{", lock), "this is not a bundle", "bundle.json cannot be understood"),
    "a-list": (lambda lock: rewritten(b"[]", lock), "this is not a bundle", "bundle.json cannot be understood"),
    "no-keys": (lambda lock: rewritten(b"{}", lock), "this is not a bundle", "bundle.json cannot be understood"),
    "deep": (lambda lock: rewritten(b"[" * 60000, lock), "this is not a bundle", "bundle.json cannot be understood"),
    "large": (lambda lock: rewritten(bytes(1 << 17), lock), "this is not a bundle", "it has 131072 bytes"),
    "other-lock": (
        lambda lock: rewritten(head_of(b"another"), lock),
        "the bundle is damaged",
        "its lock is not the one that it was written with",
    ),
    "later-lock": (
        lambda lock: with_head(canonical_json({**json.loads(lock), "format": 2}).encode()),
        "the bundle's lock cannot be understood",
        "Input should be 1",
    ),
    "lock-no-json": (
        lambda _lock: with_head(b"{"),
        "the bundle's lock cannot be understood",
        "Expecting",
    ),
    "lock-not-utf-8": (
        lambda _lock: with_head(b"\xff"),
        "the bundle's lock cannot be understood",
        "can't decode",
    ),
}


@pytest.mark.parametrize("name", TEXTS)
def test_texts_that_cannot_be_used(made: Made, other: Store, name: str) -> None:
    change, what, why = TEXTS[name]
    problem = refused(other, made, change(made.lock.text().encode()))
    assert problem.what == what
    assert why in problem.why


@pytest.mark.parametrize("content", [b"", b"hello", b"\0" * 10240, b"\x1f\x8b" + bytes(2000)])
def test_other_files_are_no_bundles(made: Made, other: Store, content: bytes) -> None:
    problem = refused(other, made, content)
    assert problem.what == "this is not a bundle"
    assert "`lichen fetch PROFILE --export FILE`" in problem.remedy


@pytest.mark.parametrize(("name", "why"), [("missing", "No such file or directory"), ("", "Is a directory")])
def test_bundle_that_cannot_be_read(other: Store, tmp_path: Path, name: str, why: str) -> None:
    with pytest.raises(InputError) as caught:
        read_bundle(other, tmp_path / name, Recorder())
    [problem] = caught.value.problems
    assert (problem.what, problem.where, problem.why) == ("the bundle cannot be read", str(tmp_path / name), why)


def test_bundle_through_a_pipe(made: Made, other: Store, tmp_path: Path) -> None:
    """Nothing in it is looked at twice."""
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["dd", f"if={made.path}", f"of={tmp_path / 'pipe'}", "bs=999", "status=none"]):
        read_bundle(other, tmp_path / "pipe", Recorder())
    assert kept(other) == made.names


def test_store_without_an_object_exports_nothing(made: Made) -> None:
    made.store.path(made.names[1]).unlink()
    before = made.data
    with pytest.raises(MissingObjectError):
        write_bundle(made.store, made.lock, made.path, Recorder())
    assert made.data == before
    assert sorted(path.name for path in made.path.parent.iterdir()) == ["bundle", "store"]


def test_destination_that_cannot_be_written(made: Made, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    folder, below = tmp_path / "folder", made.path / "below"
    for destination, where, why in ((folder, folder, "Is a directory"), (below, made.path, "File exists")):
        with pytest.raises(LichenError) as caught:
            write_bundle(made.store, made.lock, destination, Recorder())
        [problem] = caught.value.problems
        assert (problem.what, problem.where, problem.why) == ("cannot write", str(where), why)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "folder", "store"]


def test_disk_too_small_is_told_before_anything_is_written(made: Made, small_disk: Path) -> None:
    for attempt in (
        lambda: write_bundle(made.store, made.lock, small_disk / "bundle", Recorder()),
        lambda: read_bundle(Store(small_disk), made.path, Recorder()),
    ):
        with pytest.raises(LichenError) as caught:
            attempt()
        [problem] = caught.value.problems
        assert (problem.what, problem.where) == ("the disk is full", str(small_disk))
        assert problem.why == "2 MiB more are needed, 1 MiB are free"
        assert list(small_disk.iterdir()) == []
    subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)
    read_bundle(Store(small_disk), made.path, Recorder())
    assert kept(Store(small_disk)) == made.names


def test_disk_that_fills_up_meanwhile(made: Made, small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else writes there after we looked."""
    subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)
    (small_disk / "filler").write_bytes(bytes((7 << 20) + (1 << 19)))
    monkeypatch.setattr("builder.steps.bundle.shutil.disk_usage", lambda _path: shutil_usage(8 << 20))
    store = Store(small_disk / "store")
    for attempt in (
        lambda: write_bundle(made.store, made.lock, small_disk / "bundle", Recorder()),
        lambda: read_bundle(store, made.path, Recorder()),
    ):
        with pytest.raises(LichenError) as caught:
            attempt()
        assert caught.value.exit_code == 1
        [problem] = caught.value.problems
        assert problem.what == "the disk is full"
        assert "`lichen clean`" in problem.remedy
    assert sorted(path.name for path in small_disk.iterdir()) == ["filler", "store"]
    monkeypatch.undo()
    before = kept(store)
    assert set(before) < set(made.names)
    (small_disk / "filler").unlink()
    assert set(read_bundle(store, made.path, Recorder())[1]) == set(made.names) - set(before)
    assert kept(store) == made.names


def shutil_usage(free: int) -> object:
    return type("Usage", (), {"free": free})()


def child(root: Path, bundle: Path) -> None:
    """Import in a process of its own; 130 when interrupted."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        read_bundle(Store(root), bundle, Recorder())
    except KeyboardInterrupt:
        sys.exit(130)


def unread(pipe: int) -> int:
    """Bytes in a pipe that nobody has taken yet."""
    count = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, count)
    return count[0]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_ended_import_leaves_good_objects_alone(
    made: Made, other: Store, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    process = multiprocessing.get_context("spawn").Process(target=child, args=(other.root, pipe))
    process.start()
    with pipe.open("wb") as stream:
        large = next(file for file in made.lock.files if file.size > 1_000_000)
        stream.write(made.data[: made.data.index(f"/{large.sha256}".encode()) + 600_000])
        stream.flush()
        wait_until((other.root / "partial" / large.sha256).exists)
        wait_until(lambda: unread(stream.fileno()) == 0)
        assert process.pid is not None
        os.kill(process.pid, number)
        process.join(60)
    assert process.exitcode == code
    if number == signal.SIGINT:
        assert list(other.partials()) == []
    assert not other.has(large.sha256, large.size)
    read_bundle(other, made.path, Recorder())
    assert kept(other) == made.names
