"""An EFI program that holds the whole machine: firmware loads it over the network, and it runs from memory.

It is the image's own kernel, initrd and command line, and behind the initrd a second archive with the root file system
as a compressed erofs. systemd in the initrd mounts that file, as an ``/etc/fstab`` beside it says
(systemd-fstab-generator(8); an argument ``root=`` with the path of a file would mean NFS), and puts a file system in
memory over it (``systemd.volatile=overlay``, systemd-volatile-root.service(8)): nothing is fetched later, and nothing
that the machine writes outlives it.
"""

from __future__ import annotations

import re
import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from uuid import UUID

from builder.data.manifest import KERNEL_CONFIG
from builder.foundation.errors import InputError, LichenError, Problem
from builder.foundation.inside.blob import Blob
from builder.foundation.inside.portable import Portable, read_portable
from builder.foundation.inside.tree import UnreadableError
from builder.steps.formats.archive import write_archive
from builder.steps.formats.root import Node, emptied, read_root
from builder.steps.formats.source import Source

# The kernel is in the EFI program already.
LEFT_OUT = ("boot", "dev", "efi", "proc", "run", "sys", "tmp")
_ROOT = "root.erofs"
_FSTAB = f"/{_ROOT} /sysroot erofs ro 0 0\n".encode()
# An erofs in a file needs no loop device, whose module the initrd has not, if the file lies on a ramfs: of a tmpfs,
# where the kernel would unpack the initrd otherwise, erofs cannot read pages (erofs_fc_get_tree in fs/erofs/super.c).
_ARGUMENTS = ("rootfstype=ramfs", "systemd.volatile=overlay")
# What in the image's own command line says where its root is, or how it is checked.
_REPLACED = re.compile(r"(root|rootfstype|rootflags|roothash|usrhash|mount\.usr\w*|systemd\.(volatile|verity)\w*)=")
_MOST = (1 << 32) - (256 << 20)  # bytes of the root: sizes in an EFI program are numbers of 32 bits
_EFI_NAMES = {"amd64": "x64", "arm64": "aa64", "riscv64": "riscv64"}
# Sections of the image's own EFI program that ukify puts into the new one from files, and its option for each.
_SECTIONS = {
    ".linux": "--linux=",
    ".initrd": "--initrd=",
    ".ucode": "--microcode=",
    ".osrel": "--os-release=@",
    ".dtb": "--devicetree=",
}
_WANTED = ("EROFS_FS", "EROFS_FS_BACKED_BY_FILE", "EROFS_FS_XATTR", "EROFS_FS_ZIP_ZSTD", "OVERLAY_FS")  # of the kernel


def write_netboot(source: Source, folder: Path) -> None:
    """Write ``image.efi``. It is not signed.

    Raises:
        InputError: the image's kernel cannot read such a root.
        LichenError: the image cannot be read, or is too large for this.
        ProcessError: a tool failed.
        OSError: the disk is full.
    """
    _require_kernel(source)
    nodes = read_root(source)
    try:
        own = read_portable(Blob.of_file(source.uki))
    except UnreadableError as error:
        what, remedy = "the image's EFI program cannot be read", "build or fetch the image again"
        raise LichenError(Problem(what, str(source.uki), str(error), remedy)) from error
    words = ["ukify", "build", f"--efi-arch={_EFI_NAMES[source.manifest.architecture]}"]
    words += [f"--stub={_stub(source, nodes)}", f"--cmdline={_command_line(own)}", *_sections(source, own)]
    words += [f"--initrd={_root_archive(source, nodes)}", f"--output={folder / 'image.efi'}"]
    source.runner.run(source.toolbox.command(words, writable=[source.scratch, folder]))


def _require_kernel(source: Source) -> None:
    """Refuse an image whose own kernel could not mount such a root; Debian's kernels can."""
    config = source.folder / KERNEL_CONFIG
    if not config.is_file():
        return
    settings = set(config.read_text(encoding="utf-8").splitlines())
    missing = [name for name in _WANTED if not {f"CONFIG_{name}=y", f"CONFIG_{name}=m"} & settings]
    if missing:
        why = f"its kernel has no {', '.join(missing)}"
        remedy = "name the fragment `verity` in the profile's kernel, or take a kernel that Debian built"
        raise InputError(Problem("this image cannot run from memory", str(config), why, remedy))


def _stub(source: Source, nodes: Iterable[Node]) -> Path:
    """systemd's boot stub from the image itself: the tools tree has only that of its own architecture.

    Raises:
        LichenError: the image has none.
    """
    name = f"usr/lib/systemd/boot/efi/linux{_EFI_NAMES[source.manifest.architecture]}.efi.stub"
    for node in nodes:
        if node.path == name and node.content is not None:
            return node.content.write(source.scratch / "stub")
    raise LichenError(Problem("the image has no boot stub", f"/{name}", "the package systemd-boot-efi brings it"))


def _command_line(own: Portable) -> str:
    """The image's own kernel arguments, but for those about its root."""
    words = own.sections[".cmdline"].read().decode().strip("\0").split() if ".cmdline" in own.sections else []
    return " ".join([*(word for word in words if not _REPLACED.match(word)), *_ARGUMENTS])


def _sections(source: Source, own: Portable) -> Iterator[str]:
    for name, option in _SECTIONS.items():
        if name in own.sections:
            yield f"{option}{own.sections[name].write(source.scratch / name[1:])}"
    # The one that ukify takes by its text: with `@` it would keep the name of a file of this machine.
    yield f"--uname={source.manifest.kernel}"


def _root_archive(source: Source, nodes: Iterable[Node]) -> Path:
    """A cpio with the root as one erofs, and the line that mounts it.

    Raises:
        LichenError: it is too large for an EFI program.
    """
    packed, archive = source.scratch / _ROOT, source.scratch / "root.cpio"
    epoch = source.manifest.source_date_epoch
    words = ["mkfs.erofs", "--quiet", "--tar=f", "-zzstd", "-C65536"]
    words += [f"-T{epoch}", "--mkfs-time", f"-U{UUID(int=0)}", str(packed)]
    with source.runner.fed(source.toolbox.command(words, writable=[source.scratch])) as stream:
        write_archive(emptied(nodes, LEFT_OUT), stream)
    if (size := packed.stat().st_size) > _MOST:
        why = f"its root takes {size} bytes compressed, {_MOST} fit"
        remedy = "take something out, or boot it from a disk"
        raise LichenError(Problem("the image is too large to be one EFI program", str(source.folder), why, remedy))
    with archive.open("wb") as stream, packed.open("rb") as content:
        stream.write(_cpio_head("etc/fstab", len(_FSTAB), epoch) + _FSTAB + bytes(-len(_FSTAB) % 4))
        stream.write(_cpio_head(_ROOT, size, epoch))
        shutil.copyfileobj(content, stream)
        stream.write(bytes(-size % 4) + _cpio_head("TRAILER!!!", 0, 0))
    packed.unlink()
    return archive


def _cpio_head(name: str, size: int, modified: int) -> bytes:
    """What stands before a file's bytes (the kernel's Documentation/driver-api/early-userspace/buffer-format)."""
    raw = name.encode() + b"\0"
    numbers = (1, stat.S_IFREG | 0o444, 0, 0, 1, modified, size, 0, 0, 0, 0, len(raw), 0)
    head = b"070701" + b"".join(f"{number:08X}".encode() for number in numbers) + raw
    return head + bytes(-len(head) % 4)
