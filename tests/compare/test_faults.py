"""Folders and images that are damaged, cut short, or of another kind: a clear error, never a traceback."""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.foundation.errors import InputError
from tests.compare.conftest import Compare
from tests.compare.world import MIB, ImageMaker, newc, portable, sections

ROOT = 1 * MIB + 4 * MIB  # where the root partition begins


def error(compare: Compare, first: Path, second: Path) -> str:
    with pytest.raises(InputError) as caught:
        compare(first, second)
    (problem,) = caught.value.problems
    assert problem.what
    assert problem.why
    assert problem.remedy
    return f"{problem.what}; {problem.where}; {problem.why}"


def overwrite(path: Path, offset: int, content: bytes) -> None:
    with path.open("r+b") as stream:
        stream.seek(offset)
        stream.write(content)


def test_no_folder(tmp_path: Path, compare: Compare) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_bytes(b"")
    told = error(compare, tmp_path / "absent", tmp_path / "empty")
    assert "this is no image folder" in told
    assert "No such file" in told
    assert "neither image.raw nor manifest.json" in error(compare, tmp_path / "empty", tmp_path / "absent")
    assert "Not a directory" in error(compare, tmp_path / "file", tmp_path / "empty")


def test_something_else_in_the_folder(make: ImageMaker, compare: Compare) -> None:
    first, second = make("one"), make("two")
    (second / "sbom.spdx.json").symlink_to("/etc/passwd")
    told = error(compare, first, second)
    assert "this is no ordinary file" in told
    assert "sbom.spdx.json" in told
    (second / "sbom.spdx.json").unlink()
    os.mkfifo(second / "pipe")
    assert "this is no ordinary file" in error(compare, first, second)


@pytest.mark.parametrize("size", [0, 512, MIB // 2, 6 * MIB])
def test_disk_that_is_cut_short(make: ImageMaker, compare: Compare, size: int) -> None:
    first, second = make("one"), make("two")
    os.truncate(second / "image.raw", size)
    told = error(compare, first, second)
    assert "the disk image cannot be read" in told
    assert str(second / "image.raw") in told


def test_disk_without_a_partition_table(make: ImageMaker, compare: Compare) -> None:
    first, second = make("one"), make("two")
    overwrite(second / "image.raw", 0, bytes(MIB))
    os.truncate(second / "image.raw", 2 * MIB)
    assert "the disk image cannot be read" in error(compare, first, second)


def test_disk_with_another_partition_table(make: ImageMaker, compare: Compare) -> None:
    first, second = make("one"), make("two")
    (second / "image.raw").write_bytes(bytes(8 * MIB))
    make.world.shell(f"echo 'label: dos' | sfdisk -q '{second}/image.raw'")
    assert "its partition table is dos, not gpt" in error(compare, first, second)


@pytest.mark.parametrize(
    ("offset", "content", "why"),
    [
        (1024 + 0x04, struct.pack("<I", 1 << 30), "in only"),
        (1024 + 0x18, struct.pack("<I", 40), "impossible block size"),
        (1024 + 0x00, struct.pack("<I", 0), "impossible inode counts"),
        (1024 + 0x28, struct.pack("<I", 0), "impossible inode counts"),
        (1024 + 0x60, struct.pack("<I", 0x10), "not read here"),
    ],
)
def test_damaged_superblock(make: ImageMaker, compare: Compare, offset: int, content: bytes, why: str) -> None:
    first, second = make("one"), make("two")
    overwrite(second / "image.raw", ROOT + offset, content)
    told = error(compare, first, second)
    assert "image.raw differs and cannot be read" in told
    assert why in told


def test_noise_over_the_file_systems_never_ends_in_a_traceback(make: ImageMaker, compare: Compare) -> None:
    """Whatever is damaged, either it can be told what differs, or there is a clear error."""
    first, second = make("one"), make("two")
    whole = (second / "image.raw").read_bytes()
    choose = random.Random(3)
    outcomes = set[bool]()
    for _ in range(12):
        partition, size = choose.choice([(MIB, 256 << 10), (ROOT, MIB)])
        (second / "image.raw").write_bytes(whole)
        for _ in range(choose.choice([1, 30, 300])):
            overwrite(second / "image.raw", partition + choose.randrange(size), choose.randbytes(choose.choice([1, 4])))
        try:
            result = compare(first, second)
        except InputError as caught:
            outcomes.add(bool(caught.problems[0].why))
        else:
            assert not result.identical
            assert result.of("image.raw", "esp") or result.of("image.raw", "root")
    assert outcomes <= {True}


def test_folder_that_holds_itself(make: ImageMaker, compare: Compare) -> None:
    first, second = (
        make("one"),
        make("two", root=lambda name, tree: make.world.ext4(name, tree, ["link /etc /etc/again"])),
    )
    told = error(compare, first, second)
    assert "is its own parent or has two" in told


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda uki: uki[: len(uki) // 2], "cut short"),
        (lambda uki: b"no executable", "damaged PE file"),
        (lambda uki: b"", "damaged PE file"),
        (lambda uki: uki[:64] + b"XX" + uki[66:], "damaged PE file"),
    ],
)
def test_damaged_uki(make: ImageMaker, compare: Compare, damage: Callable[[bytes], bytes], why: str) -> None:
    first, second = make("one"), make("two")
    path = second / "image.efi"
    path.write_bytes(damage(path.read_bytes()))
    told = error(compare, first, second)
    assert "image.efi differs and cannot be read" in told
    assert why in told


def test_damaged_initrd_is_compared_as_bytes(make: ImageMaker, compare: Compare) -> None:
    archive = newc([("init", b"x" * 5000)])
    second = make("two", uki=portable(sections(initrd=archive[: len(archive) // 2])))
    result = compare(make("one", uki=portable(sections(initrd=archive))), second)
    (found,) = result.of("image.efi", ".initrd")
    assert (found.path, found.what) == ("", "content")


def test_damaged_erofs(make: ImageMaker, compare: Compare) -> None:
    def erofs(name: str, tree: Path) -> Path:
        path = make.world.folder / name
        make.world.shell(f"mkfs.erofs -zlz4 -T1 '{path}' '{tree}' >/dev/null")
        return path

    first, second = make("one", root=erofs), make("two", root=erofs)
    overwrite(second / "image.raw", ROOT + 1024 + 128, b"\xff" * 2000)
    assert "damaged erofs" in error(compare, first, second)
