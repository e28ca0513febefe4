"""File systems are read as they were written."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from builder.foundation.digest import digest_file
from builder.foundation.inside.blob import Blob
from builder.foundation.inside.ext4 import read_ext4
from builder.foundation.inside.portable import read_portable
from builder.foundation.inside.tree import UnreadableError
from builder.steps.compare.cpio import read_initrd
from builder.steps.compare.fat import read_fat
from builder.steps.compare.packed import Scratch, unpack
from builder.steps.compare.signatures import unsigned
from tests.compare.world import EPOCH, MEMBERS, MIB, World, newc, portable, sections, signed_module


def test_ext4_of_large_sparse_and_many_files(world: World) -> None:
    tree = world.tree("tree", {f"many/a rather long name of file number {n}": b"%d" % n for n in range(1500)})
    with (tree / "sparse").open("wb") as stream:
        # Many stretches, so that the extents do not fit into the inode.
        for number in range(40):
            stream.seek(number * 8192)
            stream.write(b"%04d" % number * 1000)
        stream.truncate(MIB)
    (tree / "large").write_bytes(os.urandom(2 * MIB + 7))
    (tree / "empty").write_bytes(b"")
    (tree / "short link").symlink_to("target")
    (tree / "long link").symlink_to("target/" * 20)
    image = world.ext4("image", tree, ["mknod null c 1 3", "sif /large uid 123456", "sif /large mode 0104711"])
    read = read_ext4(Blob.of_file(image))
    names = {"/" + path.relative_to(tree).as_posix() for path in tree.rglob("*")}
    assert read.entries.keys() == names | {"/", "/lost+found", "/null"}
    for path in tree.rglob("*"):
        entry = read.entries["/" + path.relative_to(tree).as_posix()]
        if path.is_symlink():
            assert (entry.kind, entry.link) == ("link", os.readlink(path))
        elif path.is_file():
            assert entry.content is not None
            assert entry.content.size == path.stat().st_size
            assert entry.content.digest() == digest_file(path)
    large = read.entries["/large"]
    assert (large.mode, large.uid) == (0o4711, 123456)
    assert large.times["created"] == EPOCH * 10**9
    assert read.entries["/null"].kind == "character device"
    assert read.fields["label"] == "root"


@pytest.mark.parametrize("size", [1024, 16384, 300_000])
def test_fat_of_every_width(world: World, size: int) -> None:
    """``size`` in KiB decides whether numbers of clusters have 12, 16 or 32 bits."""
    large = world.folder / "large"
    large.write_bytes(os.urandom(200_000))
    os.utime(large, (EPOCH, EPOCH))
    image = world.folder / "image"
    names = ["A Long Name With Blanks.efi", "SHORT.TXT", "lower.txt", "größe.txt"]
    script = f"mkfs.vfat -C --invariant {image} {size} >/dev/null\nmmd -i {image} ::folder\n"
    script += "".join(f"mcopy -m -i {image} {large} '::folder/{name}'\n" for name in names)
    world.shell(script, TZ="UTC", LC_ALL="C.UTF-8")
    read = read_fat(Blob.of_file(image))
    assert set(read.entries) == {"/", "/folder", *(f"/folder/{name}" for name in names)}
    for name in names:
        content = read.entries[f"/folder/{name}"].content
        assert content is not None
        assert content.digest() == digest_file(large)
        assert read.entries[f"/folder/{name}"].times["modified (local time)"] == EPOCH * 10**9
    assert read.fields["volume serial number"] == "1234abcd"


def test_blob(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    os.truncate(path, 3 * MIB)
    blob = Blob.of_file(path)
    assert len(blob.pieces) == 2
    assert blob.read() == path.read_bytes()
    assert blob.digest() == digest_file(path)
    assert blob.slice(2, 3).read() == b"234"
    assert blob.slice(3 * MIB - 1, 100).size == 1
    assert blob.slice(0, 10).without(2, 5).read() == b"01789"
    assert blob.slice(0, 10).zeroed(2, 5).read() == b"01\0\0\0\0\x00789"
    assert blob.slice(0, 3).padded(2).read() == b"012\0\0"
    other = Blob(path, [(0, 5), (7, 3)])
    assert blob.slice(0, 10).first_difference(other) == 5
    assert blob.slice(0, 5).first_difference(other) == 5
    assert blob.first_difference(Blob.of_file(path)) is None


def noisy(content: bytes, choose: random.Random, reach: int) -> bytes:
    changed = bytearray(content)
    for _ in range(choose.choice([1, 3, 40])):
        at = choose.randrange(min(reach, len(content)))
        changed[at : at + 2] = choose.randbytes(2)
    return bytes(changed[: choose.choice([len(content), choose.randrange(len(content))])])


def test_noise_in_executables_and_archives(tmp_path: Path) -> None:
    """Read, or refused; nothing else."""
    choose = random.Random(7)
    path = tmp_path / "file"
    refused = 0
    samples: list[tuple[bytes, Callable[[Blob], object]]] = [
        (portable(sections()), lambda blob: [section.digest() for section in read_portable(blob).sections.values()]),
        (newc(MEMBERS), lambda blob: read_initrd(blob, Scratch(tmp_path / "scratch"))),
        (zstandard.compress(newc(MEMBERS)), lambda blob: read_initrd(blob, Scratch(tmp_path / "scratch"))),
        (signed_module(b"module"), lambda blob: unsigned("a.ko", blob, Scratch(tmp_path / "scratch"))),
    ]
    for content, read in samples:
        for _ in range(300):
            path.write_bytes(noisy(content, choose, 700))
            try:
                read(Blob.of_file(path))
            except UnreadableError as error:
                refused += bool(str(error))
    assert refused > 100


def test_what_unpacks_to_far_more_than_it_should_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb"
    path.write_bytes(zstandard.compress(bytes(64 * MIB)))
    with pytest.raises(UnreadableError, match="more than"):
        unpack(Blob.of_file(path), tmp_path / "out", MIB)
