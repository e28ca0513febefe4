"""A published, signed image and the rebuild of somebody without the key."""

from __future__ import annotations

import hashlib
import json
import lzma
import struct
from collections.abc import Mapping
from pathlib import Path

import pytest
import zstandard

from tests.compare.conftest import Compare, told
from tests.compare.world import (
    EPOCH,
    FILES,
    MEMBERS,
    SIGNATURE_TYPE,
    ImageMaker,
    World,
    finished,
    newc,
    portable,
    sections,
    signed_module,
)

MODULE = b"\x7fELF" + b"module " * 200


@pytest.fixture
def key(world: World) -> str:
    """Options of systemd-sbsign for a key that lives as long as the test."""
    folder = world.folder / "key"
    folder.mkdir()
    world.shell(
        f"cd {folder} && openssl req -quiet -x509 -newkey rsa:2048 -nodes -subj /CN=test -keyout key -out certificate",
        HOME=str(folder),
    )
    return f"--private-key={folder}/key --certificate={folder}/certificate"


def signed(world: World, key: str, content: bytes) -> bytes:
    """A portable executable with a real signature."""
    before, after = world.folder / "before.efi", world.folder / "after.efi"
    before.write_bytes(content)
    after.unlink(missing_ok=True)
    world.shell(f"/usr/lib/systemd/systemd-sbsign sign {key} --output={after} {before}")
    assert len(after.read_bytes()) > len(content)
    return after.read_bytes()


def test_signed_uki(make: ImageMaker, compare: Compare, key: str) -> None:
    # A size that is no multiple of eight: who signs fills it up.
    plain = portable(sections()) + b"odd"
    published = make("published", uki=signed(make.world, key, plain))
    (published / "SHA256SUMS.sig").write_bytes(b"detached")
    rebuilt = make("rebuilt", uki=plain)
    result = compare(published, rebuilt, strip_signatures=True)
    assert result.identical, told(result)
    assert result.differences == ()
    assert "SHA256SUMS.sig" not in result.rows
    bases = {name: row.basis for name, row in result.rows.items() if row.basis != "bytes"}
    assert bases == {
        "image.efi": "unsigned",
        "image.efi: outside sections": "unsigned",
        "image.raw": "listing",
        "image.raw: esp": "listing",
        "manifest.json": "unsigned",
        "SHA256SUMS": "unsigned",
    }


def test_signature_is_told_when_it_counts(make: ImageMaker, compare: Compare, key: str) -> None:
    plain = portable(sections())
    result = compare(make("published", uki=signed(make.world, key, plain)), make("rebuilt", uki=plain))
    assert {"image.efi", "image.efi: outside sections", "image.raw: esp"} <= result.differing
    assert [item.what for item in result.of("image.efi")] == ["signature only in the first"]


def test_two_signatures_of_one_uki(make: ImageMaker, compare: Compare, key: str) -> None:
    once = signed(make.world, key, portable(sections()))
    images = make("one", uki=once), make("two", uki=once[:-300] + once[-300:].swapcase())
    assert [item.what for item in compare(*images).of("image.efi")] == ["signature"]
    assert compare(*images, strip_signatures=True).identical


def test_nothing_hides_behind_a_signature(make: ImageMaker, compare: Compare, key: str) -> None:
    changed = portable(sections(cmdline=b"quiet init=/bin/sh"))
    published = make("published", uki=signed(make.world, key, changed))
    result = compare(published, make("rebuilt"), strip_signatures=True)
    assert result.differing == {
        # The headers tell how long the command line is.
        *("image.efi", "image.efi: .cmdline", "image.efi: outside sections"),
        *("image.raw", "image.raw: esp", "manifest.json", "SHA256SUMS"),
    }
    (found,) = result.of("image.efi", ".cmdline")
    assert found.evidence == "@@ -1 +1 @@\n-quiet init=/bin/sh\n+quiet"


def test_signed_kernel_within_the_uki(make: ImageMaker, compare: Compare, key: str) -> None:
    kernel = portable({".text": b"kernel" * 100})
    inner = signed(make.world, key, kernel)
    published = make("published", uki=signed(make.world, key, portable(sections(linux=inner))))
    result = compare(published, make("rebuilt", uki=portable(sections(linux=kernel))), strip_signatures=True)
    assert result.identical, told(result)
    assert result.rows["image.efi"].basis == "listing"
    assert result.rows["image.efi: .linux"].basis == "unsigned"


def modules(sign: bool) -> dict[str, bytes]:
    content = signed_module(MODULE) if sign else MODULE
    folder = "usr/lib/modules/6.12"
    return {
        f"{folder}/plain.ko": content,
        f"{folder}/packed.ko.xz": lzma.compress(content),
        f"{folder}/packed.ko.zst": zstandard.compress(content),
    }


def with_contents(image: Path, files: Mapping[str, bytes]) -> Path:
    entries = [
        {"path": f"/{name}", "sha256": _sha256(content), "size": len(content)} for name, content in files.items()
    ]
    (image / "contents.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return finished(image)


def test_signed_modules_in_root_and_initrd(make: ImageMaker, compare: Compare) -> None:
    images = []
    for name, sign in (("published", True), ("rebuilt", False)):
        initrd = zstandard.compress(newc((*MEMBERS, *modules(sign).items())))
        files = {**FILES, **modules(sign)}
        images.append(with_contents(make(name, files, uki=portable(sections(initrd=initrd))), files))
    result = compare(*images, strip_signatures=True)
    assert result.identical, told(result)
    assert result.rows["image.raw: root"].basis == "listing"
    assert result.rows["image.efi: .initrd"].basis == "listing"
    assert result.rows["contents.jsonl"].basis == "unsigned"
    assert not compare(*images).identical


def test_another_module_under_a_signature(make: ImageMaker, compare: Compare) -> None:
    path = "usr/lib/modules/6.12/plain.ko"
    first = make("published", {**FILES, **modules(True), path: signed_module(b"\x7fELF other")})
    result = compare(first, make("rebuilt", {**FILES, **modules(False)}), strip_signatures=True)
    assert [item.path for item in result.of("image.raw", "root")] == [f"/{path}"]
    assert not result.rows["image.raw: root"].identical


def test_module_of_an_impossible_signature(make: ImageMaker, compare: Compare) -> None:
    path = "usr/lib/modules/bad.ko"
    bad = MODULE + struct.pack(">5B3sI", 0, 0, 2, 0, 0, b"", 1 << 31) + b"~Module signature appended~\n"
    result = compare(make("one", {**FILES, path: bad}), make("two", {**FILES, path: MODULE}), strip_signatures=True)
    assert [item.path for item in result.of("image.raw", "root")] == [f"/{path}"]


def test_packing_is_no_signature(make: ImageMaker, compare: Compare) -> None:
    """Members are the same, how they are compressed is not."""
    archive = newc(MEMBERS)
    first = make("one", uki=portable(sections(initrd=zstandard.compress(archive, 1))))
    second = make("two", uki=portable(sections(initrd=lzma.compress(archive))))
    for strip in (False, True):
        result = compare(first, second, strip_signatures=strip)
        assert not result.rows["image.efi: .initrd"].identical
        assert [item.what for item in result.of("image.efi", ".initrd")] == ["packing of the same members"]


def test_partition_with_the_signature_of_verity(make: ImageMaker, compare: Compare) -> None:
    signature = make.world.folder / "verity"
    signature.write_bytes(b'{"rootHash": "...", "signature": "..."}')
    published = make("published", more=[(SIGNATURE_TYPE, "root-verity-sig", signature)])
    rebuilt = make("rebuilt")
    result = compare(published, rebuilt, strip_signatures=True)
    assert result.identical, told(result)
    assert result.rows["image.raw: outside partitions"].basis == "listing"
    assert "image.raw: root-verity-sig" not in result.rows
    assert "image.raw: root-verity-sig" in compare(published, rebuilt).differing


def test_uki_of_ukify(make: ImageMaker, compare: Compare, key: str) -> None:
    world = make.world
    (world.folder / "linux").write_bytes(portable({".text": b"kernel" * 100}))
    (world.folder / "initrd").write_bytes(newc(MEMBERS))
    stub = next((world.toolbox.tree / "usr/lib/systemd/boot/efi").glob("linux*.efi.stub"))
    made = world.folder / "uki"
    world.shell(
        f"ukify build --linux={world.folder}/linux --initrd={world.folder}/initrd --cmdline=quiet --uname=6.12"
        f" --os-release=ID=debian --stub=/{stub.relative_to(world.toolbox.tree)} --output={made}",
        SOURCE_DATE_EPOCH=str(EPOCH),
    )
    plain = made.read_bytes()
    published = make("published", uki=signed(world, key, plain))
    result = compare(published, make("rebuilt", uki=plain), strip_signatures=True)
    assert result.identical, told(result)
    assert {".linux", ".initrd", ".cmdline", ".osrel", ".uname", ".text"} <= {
        name.partition(": ")[2] for name in result.rows
    }
    assert not compare(published, make("other", uki=plain.replace(b"quiet", b"shout")), strip_signatures=True).identical


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
