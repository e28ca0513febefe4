"""The files of an image's root partition, as a sorted list.

An ext4 is read in place; an erofs, whose files are compressed, is unpacked into the scratch folder by ``fsck.erofs``.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from builder.foundation.errors import LichenError, Problem
from builder.foundation.inside.blob import Blob
from builder.foundation.inside.disk import read_disk
from builder.foundation.inside.erofs import is_erofs, unpack_erofs
from builder.foundation.inside.ext4 import Ext4, is_ext4
from builder.foundation.inside.tree import UnreadableError, kind_of
from builder.steps.formats.source import Source

# Types of root partitions (the discoverable partitions specification).
_ROOT_TYPES = {
    "amd64": "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709",
    "arm64": "B921B045-1DF0-41C3-AF44-4C6F280D3FAE",
    "riscv64": "72EC70A6-CF74-40E6-BD49-4BDA08E8F224",
}
_ROOT = "."  # what the root is called in the list
_KEPT = ("file", "folder", "link")  # devices, pipes and sockets are made by the system that runs, not shipped


@dataclass(frozen=True)
class Node:
    """One file, folder or symbolic link.

    Attributes:
        path: without a leading slash, ``.`` for the root; bytes that are no UTF-8 are escaped as Python does in names
            of files.
        kind: ``file``, ``folder`` or ``link``.
        modified: seconds since 1970, never later than the lock's date.
        link: where a symbolic link points to.
        attributes: the extended attributes.
        identity: the same for all names of one file; None when it has only one.
    """

    path: str
    kind: str
    mode: int
    uid: int
    gid: int
    modified: int
    content: Blob | None = None
    link: str = ""
    attributes: Mapping[str, bytes] = field(default_factory=dict)
    identity: int | None = None


def read_root(source: Source) -> list[Node]:
    """The files of the root partition, sorted by path, so that folders come before what they hold.

    Raises:
        LichenError: the image has no root partition, or one that cannot be read.
    """
    root = _root_partition(source)
    try:
        if is_ext4(root):
            nodes = _of_ext4(root, source.manifest.source_date_epoch)
        elif is_erofs(root):
            nodes = _of_erofs(root, source)
        else:
            raise UnreadableError("it is neither ext4 nor erofs")
        # The root itself first, whatever its children are called.
        return sorted(nodes, key=lambda node: (node.path != _ROOT, node.path))
    except (UnreadableError, struct.error, ValueError) as error:
        remedy = "build or fetch the image again"
        raise LichenError(
            Problem("the root file system cannot be read", str(source.disk), str(error), remedy)
        ) from error


def emptied(nodes: Iterable[Node], folders: Iterable[str]) -> list[Node]:
    """``nodes`` without what lies in ``folders``; the folders themselves stay."""
    left_out = tuple(f"{folder}/" for folder in folders)
    return [node for node in nodes if not node.path.startswith(left_out)]


def _root_partition(source: Source) -> Blob:
    disk = read_disk(source.disk, source.toolbox, source.runner)
    wanted = _ROOT_TYPES[source.manifest.architecture]
    for name, part in disk.parts.items():
        if disk.fields[f"type of {name}"].upper() == wanted:
            return part
    why = f"no partition has the type {wanted}"
    raise LichenError(Problem("the image has no root partition", str(source.disk), why))


def _of_ext4(root: Blob, epoch: int) -> Iterator[Node]:
    reader = Ext4(root)
    for path, number, inode in reader.walk():
        kind = kind_of(inode.mode)
        # Made by mke2fs for its own repairs.
        if kind not in _KEPT or path == b"/lost+found":
            continue
        yield Node(
            path=_relative(path),
            kind=kind,
            mode=stat.S_IMODE(inode.mode),
            uid=inode.uid,
            gid=inode.gid,
            modified=min(inode.times()["modified"] // 10**9, epoch),
            content=reader.content(inode) if kind == "file" else None,
            link=_text(reader.link(inode)) if kind == "link" else "",
            attributes=reader.attributes(inode),
            identity=number if kind == "file" and inode.links > 1 else None,
        )


def _of_erofs(root: Blob, source: Source) -> Iterator[Node]:
    if os.geteuid() != 0:
        raise UnreadableError("only root may give the files of an erofs to their owners: run this as root")
    files = unpack_erofs(root, source.toolbox, source.runner, source.scratch / "root", attributes=True)
    yield from _of_folder(os.fsencode(files), source.manifest.source_date_epoch)


def _of_folder(top: bytes, epoch: int) -> Iterator[Node]:
    yield _of_path(top, b"/", epoch)
    for here, folders, files in os.walk(top):
        for name in (*folders, *files):
            path = os.path.join(here, name)
            if kind_of(os.lstat(path).st_mode) in _KEPT:
                yield _of_path(path, path.removeprefix(top), epoch)


def _of_path(place: bytes, path: bytes, epoch: int) -> Node:
    state = os.lstat(place)
    kind = kind_of(state.st_mode)
    names = os.listxattr(place, follow_symlinks=False)
    return Node(
        path=_relative(path),
        kind=kind,
        mode=stat.S_IMODE(state.st_mode),
        uid=state.st_uid,
        gid=state.st_gid,
        modified=min(int(state.st_mtime), epoch),
        content=Blob.of_file(Path(os.fsdecode(place))) if kind == "file" else None,
        link=_text(os.readlink(place)) if kind == "link" else "",
        attributes={name: os.getxattr(place, name, follow_symlinks=False) for name in sorted(names)},
        identity=state.st_ino if kind == "file" and state.st_nlink > 1 else None,
    )


def _relative(path: bytes) -> str:
    return _text(path.lstrip(b"/")) or _ROOT


def _text(name: bytes) -> str:
    """``name`` in the form that tarfile turns into the same bytes again, whatever the locale of this machine."""
    return name.decode("utf-8", "surrogateescape")
