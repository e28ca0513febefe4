"""Image folders of a few mebibytes, made with the tools tree: GPT, FAT, ext4, a UKI; nothing is mounted."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from builder.foundation.process import Runner
from builder.foundation.toolbox import Toolbox

MIB = 1 << 20
EPOCH = 1_750_000_000
UUID = "3a41bd11-9c5f-4f6e-8d6e-6a3a3e6b1c11"
ESP_TYPE = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
ROOT_TYPE = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"
SIGNATURE_TYPE = "41092B05-9FC8-4523-994F-2DEF0408B176"


@dataclass
class World:
    """Makes things in a folder with the tools of the tree."""

    folder: Path
    toolbox: Toolbox
    runner: Runner = field(default_factory=Runner)

    def shell(self, script: str, **env: str) -> str:
        command = self.toolbox.command(["sh", "-euc", script], writable=[self.folder], env=env)
        return self.runner.run(command).stdout

    def tree(self, name: str, files: Mapping[str, bytes]) -> Path:
        """A folder with files, all of the same age and mode."""
        root = self.folder / name
        root.mkdir()
        for path, content in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(content)
        settle(root)
        return root

    def ext4(self, name: str, tree: Path, commands: Sequence[str] = (), epoch: int = EPOCH, options: str = "") -> Path:
        """An ext4 of ``tree``; ``commands`` are debugfs's, done afterwards, in order."""
        path = self.folder / name
        seeds = options or f"-U {UUID} -E hash_seed={UUID},lazy_itable_init=1,nodiscard"
        self.shell(f"mke2fs -q -t ext4 -L root {seeds} -d '{tree}' '{path}' 8M", SOURCE_DATE_EPOCH=str(epoch))
        if commands:
            (self.folder / "debugfs").write_text("".join(f"{line}\n" for line in commands))
            self.shell(f"debugfs -w -f '{self.folder}/debugfs' '{path}'", SOURCE_DATE_EPOCH=str(epoch))
        return path

    def fat(
        self, name: str, files: Sequence[tuple[str, Path]], *, serial: str = "12345678", timezone: str = "UTC"
    ) -> Path:
        """A FAT with ``files``, written in that order."""
        path = self.folder / name
        copies = "".join(f"mcopy -m -i '{path}' '{source}' '::{target}'\n" for target, source in files)
        script = f"mkfs.vfat -C --invariant -i {serial} '{path}' 4096 >/dev/null\nmmd -i '{path}' ::EFI ::EFI/BOOT\n"
        self.shell(script, SOURCE_DATE_EPOCH=str(EPOCH))
        # mcopy takes the zone of times from nobody when it is given an epoch.
        epoch = {"SOURCE_DATE_EPOCH": str(EPOCH)} if timezone == "UTC" else {}
        self.shell(copies, TZ=timezone, **epoch)
        return path

    def esp(self, name: str, uki: Path, *, serial: str = "12345678", timezone: str = "UTC") -> Path:
        """A FAT that a machine starts ``uki`` from."""
        return self.fat(name, [("EFI/BOOT/BOOTX64.EFI", uki)], serial=serial, timezone=timezone)

    def disk(self, name: str, parts: Iterable[tuple[str, str, Path]], *, identifier: str = UUID) -> Path:
        """A disk with a GPT; ``parts`` are type, label and content."""
        path = self.folder / name
        script, start, placed = f"label: gpt\nlabel-id: {identifier}\n", MIB, []
        for number, (kind, label, source) in enumerate(parts, start=1):
            size = -(-source.stat().st_size // MIB) * MIB
            uuid = f"{UUID[:-1]}{number}"
            script += f'start={start // 512}, size={size // 512}, type={kind}, name="{label}", uuid={uuid}\n'
            placed.append((start, source))
            start += size
        with path.open("wb") as stream:
            stream.truncate(start + MIB)
        (self.folder / "table").write_text(script)
        self.shell(f"sfdisk -q '{path}' < '{self.folder}/table'")
        with path.open("r+b") as stream:
            for place, source in placed:
                stream.seek(place)
                stream.write(source.read_bytes())
        return path


def settle(root: Path) -> None:
    """Give everything below a folder the same age and mode."""
    for path in sorted(root.rglob("*"), reverse=True):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)
        os.utime(path, (EPOCH, EPOCH), follow_symlinks=False)
    root.chmod(0o755)
    os.utime(root, (EPOCH, EPOCH))


def newc(members: Iterable[tuple[str, bytes]], *, modified: int = EPOCH) -> bytes:
    """A cpio archive."""
    data = b""
    for number, (name, content) in enumerate([*members, ("TRAILER!!!", b"")], start=1):
        raw = name.encode() + b"\0"
        words = (number, 0o100644, 0, 0, 1, modified, len(content), 0, 0, 0, 0, len(raw), 0)
        head = b"070701" + b"".join(f"{word:08X}".encode() for word in words) + raw
        data += head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4)
    return data


def portable(sections: Mapping[str, bytes], *, stamp: int = 0) -> bytes:
    """A portable executable for amd64 that holds sections, as a UKI does; it runs nowhere."""
    start = 1024
    table, bodies, address = b"", b"", 0x1000
    for name, content in sections.items():
        size = -(-len(content) // 512) * 512
        table += struct.pack("<8sIIIIIIHHI", name.encode(), len(content), address, size, start, 0, 0, 0, 0, 0x40000040)
        bodies += content.ljust(size, b"\0")
        start += size
        address += -(-max(size, 1) // 4096) * 4096
    dos = b"MZ".ljust(60, b"\0") + struct.pack("<I", 64)
    coff = b"PE\0\0" + struct.pack("<HHIIIHH", 0x8664, len(sections), stamp, 0, 0, 112 + 128, 0x22)
    optional = struct.pack("<HBBIIIII", 0x20B, 0, 0, 0, 0, 0, 0x1000, 0x1000)
    optional += struct.pack("<QIIHHHHHHIIIIHH", 0, 0x1000, 512, 0, 0, 0, 0, 0, 0, 0, address, 1024, 0, 10, 0)
    optional += struct.pack("<QQQQII", 0, 0, 0, 0, 0, 16) + bytes(128)
    return (dos + coff + optional + table).ljust(1024, b"\0") + bodies


def signed_module(content: bytes, signature: bytes = b"S" * 300) -> bytes:
    """What sign-file of the kernel appends."""
    info = struct.pack(">5B3sI", 0, 0, 2, 0, 0, b"", len(signature))
    return content + signature + info + b"~Module signature appended~\n"


FILES = {
    "etc/hostname": b"station\n",
    "etc/os-release": b"ID=debian\n",
    "usr/bin/tool": bytes(range(256)) * 64,
    "usr/share/doc/list": b"one\ntwo\nthree\n",
}
MEMBERS = (("init", b"#!/bin/sh\nexec /sbin/init\n"), ("usr/lib/module.ko", b"\x7fELF module\n"))


def sections(**changed: bytes) -> dict[str, bytes]:
    """What a UKI holds; names are given without their dot."""
    kept = {
        ".linux": portable({".text": b"kernel" * 100}),
        ".initrd": newc(MEMBERS),
        ".cmdline": b"quiet",
        ".uname": b"6.12",
    }
    return {**kept, **{f".{name}": content for name, content in changed.items()}}


@dataclass
class ImageMaker:
    """Makes image folders; what is not given is the same in all of them."""

    world: World

    def __call__(
        self,
        name: str,
        files: Mapping[str, bytes] = FILES,
        *,
        uki: bytes | None = None,
        root: Callable[[str, Path], Path] | None = None,
        esp: Callable[[str, Path], Path] | None = None,
        more: Iterable[tuple[str, str, Path]] = (),
        identifier: str = UUID,
    ) -> Path:
        world = self.world
        folder = world.folder / name
        folder.mkdir()
        (folder / "image.efi").write_bytes(portable(sections()) if uki is None else uki)
        os.utime(folder / "image.efi", (EPOCH, EPOCH))
        tree = world.tree(f"{name}.tree", files)
        boot = (esp or world.esp)(f"{name}.esp", folder / "image.efi")
        system = (root or world.ext4)(f"{name}.root", tree)
        parts = [(ESP_TYPE, "esp", boot), (ROOT_TYPE, "root", system), *more]
        shutil.copyfile(world.disk(f"{name}.raw", parts, identifier=identifier), folder / "image.raw")
        return finished(folder)


def finished(folder: Path) -> Path:
    """Write manifest, checksums and log of an image folder."""
    artefacts = {name: _artefact(folder / name) for name in ("image.efi", "image.raw")}
    (folder / "manifest.json").write_text(json.dumps({"artefacts": artefacts, "profile": "tiny"}, indent=2))
    names = ["image.efi", "image.raw", "manifest.json"]
    (folder / "SHA256SUMS").write_text("".join(f"{_digest(folder / name)}  {name}\n" for name in names))
    (folder / "build.log").write_text(f"built in {folder}\n")
    return folder


def _artefact(path: Path) -> dict[str, object]:
    return {"sha256": _digest(path), "size": path.stat().st_size}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
