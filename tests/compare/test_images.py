"""Two image folders: what is the same, what differs and where."""

from __future__ import annotations

import gzip
import os
from functools import partial
from pathlib import Path

import pytest

from builder.steps.compare import evidence
from tests.compare.conftest import Compare, told
from tests.compare.world import FILES, MEMBERS, UUID, ImageMaker, newc, portable, sections


def test_identical_images(make: ImageMaker, compare: Compare) -> None:
    result = compare(make("one"), make("two"))
    assert result.identical, told(result)
    assert result.differences == ()
    parts = {"esp", "root", "outside partitions"}
    assert set(result.rows) == {
        *("SHA256SUMS", "image.efi", "image.raw", "manifest.json"),
        *(f"image.raw: {part}" for part in parts),
        *(f"image.efi: {part}" for part in (*sections(), "outside sections")),
    }
    assert {row.basis for row in result.rows.values()} == {"bytes"}


def test_each_kind_of_difference_in_the_root(make: ImageMaker, compare: Compare) -> None:
    changed = (
        "sif /usr/bin/tool mode 0104755",
        "sif /usr/share/doc/list uid 1000",
        "sif /etc/os-release mtime 1750003600",
        "rm /etc/hostname",
        "symlink /etc/link elsewhere",
        "ea_set /usr/share/doc/list user.note some",
    )
    second = make("two", root=partial(make.world.ext4, commands=changed))
    first = make("one", root=partial(make.world.ext4, commands=["symlink /etc/link there"]))
    result = compare(first, second)
    found = {(item.path, item.what): (item.cause, item.evidence) for item in result.of("image.raw", "root")}
    assert found["/usr/bin/tool", "mode"] == (None, "0644 | 4755")  # no umask makes a program set-user-ID
    assert found["/usr/share/doc/list", "owner"] == ("user", "0:0 | 1000:0")
    assert found["/etc/os-release", "times: modified"][0] == "clock"
    assert "2025-06-15 15:06:40 | 2025-06-15 16:06:40" in found["/etc/os-release", "times: modified"][1]
    assert found["/etc/hostname", "only in the first"][0] is None
    assert found["/etc/link", "link target"] == (None, "there | elsewhere")
    assert found["/usr/share/doc/list", "extended attributes"][0] is None
    assert result.differing == {"image.raw", "image.raw: root", "manifest.json", "SHA256SUMS"}


def test_file_system_own_fields(make: ImageMaker, compare: Compare) -> None:
    random = "-U random -E lazy_itable_init=1,nodiscard"
    second = make("two", root=partial(make.world.ext4, options=random))
    result = compare(make("one"), second)
    found = {item.what: item for item in result.of("image.raw", "root")}
    assert {"file system's UUID", "file system's directory hash seed"} <= found.keys()
    assert {item.cause for item in found.values()} == {"random"}
    assert {item.path for item in found.values()} == {""}


def test_partition_table(make: ImageMaker, compare: Compare) -> None:
    other = "00000000-0000-4000-8000-000000000001"
    result = compare(make("one"), make("two", identifier=other))
    (found,) = result.of("image.raw", "outside partitions")
    assert (found.what, found.cause) == ("partition table's disk UUID", "random")
    assert other.upper() in found.evidence
    assert result.rows["image.raw: root"].identical


def test_bytes_of_no_partition_and_of_no_file(make: ImageMaker, compare: Compare) -> None:
    first, second = make("one"), make("two")
    with (second / "image.raw").open("r+b") as stream:
        stream.seek(512 * 100)
        stream.write(b"left over")
        stream.seek(1024 * 1024 * 12)  # free blocks near the end of the root
        stream.write(b"left over as well")
    result = compare(first, second)
    (outside,) = result.of("image.raw", "outside partitions")
    (inside,) = result.of("image.raw", "root")
    assert (outside.what, outside.cause) == ("bytes of no partition", None)
    assert "first difference at offset 51200" in outside.evidence
    assert b"left over".hex(" ") in outside.evidence
    assert (inside.what, inside.cause) == ("bytes of no file, the file system's own", None)


def test_uki_is_told_by_section_and_initrd_member(make: ImageMaker, compare: Compare) -> None:
    members = (MEMBERS[0], (MEMBERS[1][0], b"\x7fELF another\n"))
    result = compare(make("one"), make("two", uki=portable(sections(initrd=newc(members), cmdline=b"quiet debug"))))
    assert result.differing == {
        *("image.efi", "image.efi: .initrd", "image.efi: .cmdline", "image.efi: outside sections"),
        *("image.raw", "image.raw: esp", "manifest.json", "SHA256SUMS"),
    }
    (member,) = result.of("image.efi", ".initrd")
    assert (member.path, member.what) == ("/usr/lib/module.ko", "content")
    (command_line,) = result.of("image.efi", ".cmdline")
    assert command_line.evidence == "@@ -1 +1 @@\n-quiet\n+quiet debug"
    # The disk holds the same UKI; it is explained once.
    (boot,) = result.of("image.raw", "esp")
    assert (boot.path, boot.what) == ("/EFI/BOOT/BOOTX64.EFI", "content: the same file as image.efi, told there")


def test_artefact_on_one_side(make: ImageMaker, compare: Compare) -> None:
    first, second = make("one"), make("two")
    (second / "sbom.spdx.json").write_text("{}")
    result = compare(first, second)
    row = result.rows["sbom.spdx.json"]
    assert row.first is None
    assert row.second is not None
    assert result.differing == {"sbom.spdx.json"}
    assert result.differences[0].what == "only in the second"
    assert "build.log" not in result.rows


def test_partition_and_section_on_one_side(make: ImageMaker, compare: Compare) -> None:
    extra = make.world.folder / "extra"
    extra.write_bytes(b"data" * 1000)
    kind = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
    second = make("two", more=[(kind, "data", extra)], uki=portable({**sections(), ".extra": b"x"}))
    result = compare(make("one"), second)
    assert result.of("image.raw", "data")[0].what == "partition only in the second"
    assert result.of("image.efi", ".extra")[0].what == "section only in the second"
    assert result.rows["image.raw: data"].first is None
    assert result.rows["image.raw: esp"].first != result.rows["image.raw: esp"].second


def test_many_files_of_one_kind_are_counted(make: ImageMaker, compare: Compare) -> None:
    many = {f"srv/{number}": b"%d" % number for number in range(50)}
    result = compare(make("one", {**FILES, **many}), make("two", {**FILES, **dict.fromkeys(many, b"x")}))
    told_one_by_one = [item for item in result.of("image.raw", "root") if item.path]
    (rest,) = [item for item in result.of("image.raw", "root") if not item.path]
    assert len(told_one_by_one) == 20
    assert rest.what == "content: 30 more files"


def test_hostile_names(make: ImageMaker, compare: Compare) -> None:
    hostile = {"a\nb": b"1", "c\x1b[31md": b"1", "with \"quotes\" and 'such'": b"1", "-rf": b"1", "$(reboot)": b"1"}
    result = compare(make("one", {**FILES, **hostile}), make("two", {**FILES, **dict.fromkeys(hostile, b"2")}))
    paths = {item.path for item in result.of("image.raw", "root")}
    assert paths == {"/a\\nb", "/c\\x1b[31md", "/with \"quotes\" and 'such'", "/-rf", "/$(reboot)"}
    members = (("../../../../tmp/escape", b"1"), ("/etc/\nshadow", b"1"))
    other = tuple((name, b"2") for name, _ in members)
    first = make("three", uki=portable(sections(initrd=newc(members))))
    second = make("four", uki=portable(sections(initrd=newc(other))))
    paths = {item.path for item in compare(first, second).of("image.efi", ".initrd")}
    assert paths == {"/../../../../tmp/escape", "/etc/\\nshadow"}


def test_compressed_contents_are_looked_into(make: ImageMaker, compare: Compare) -> None:
    first = make("one", {**FILES, "usr/share/doc/log.gz": gzip.compress(b"on 2026-01-01\n", mtime=0)})
    second = make("two", {**FILES, "usr/share/doc/log.gz": gzip.compress(b"on 2026-03-04\n", mtime=0)})
    (found,) = compare(first, second).of("image.raw", "root")
    assert (found.what, found.cause) == ("content (gzip)", "clock")
    assert found.evidence == "@@ -1 +1 @@\n-on 2026-01-01\n+on 2026-03-04"


def test_erofs(make: ImageMaker, compare: Compare) -> None:
    if os.geteuid() != 0:
        pytest.skip("unpacked files keep their owners only for root")

    def erofs(name: str, tree: Path) -> Path:
        path = make.world.folder / name
        make.world.shell(f"mkfs.erofs -zlz4 -T1 -U {UUID} '{path}' '{tree}' >/dev/null")
        return path

    first = make("one", {**FILES, "etc/host": b"built on alpha\n"}, root=erofs)
    second = make("two", {**FILES, "etc/host": b"built on omega\n"}, root=erofs)
    result = compare(first, second, conditions=({"hostname": "alpha"}, {"hostname": "omega"}))
    (found,) = result.of("image.raw", "root")
    assert (found.path, found.what, found.cause) == ("/etc/host", "content", "host name")


def test_diffoscope_is_asked_and_may_be_slow(
    make: ImageMaker, compare: Compare, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Programs that stand in for it: which files it gets, and what becomes of one that does not end."""
    first, second = make("one"), make("two", {**FILES, "etc/os-release": b"ID=other\n"})
    folder = tmp_path / "programs"
    folder.mkdir()
    program = folder / "diffoscope"
    program.write_text('#!/bin/sh\nfor last; do :; done\necho "told of $(cat "$last")"\nexit 1\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    (found,) = compare(first, second).of("image.raw", "root")
    assert found.evidence == "told of ID=other"
    program.write_text("#!/bin/sh\nsleep 600\n")
    monkeypatch.setattr(evidence, "SECONDS", 0.2)
    (found,) = compare(first, second).of("image.raw", "root")
    assert found.evidence == "@@ -1 +1 @@\n-ID=debian\n+ID=other"
