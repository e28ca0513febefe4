"""Signatures that lie within a file, and the file without them."""

from __future__ import annotations

import struct

from builder.foundation.inside.blob import Blob
from builder.foundation.inside.portable import is_portable, read_portable
from builder.foundation.inside.tree import UnreadableError
from builder.steps.compare.packed import Scratch, packing, unpack

# End of a signed kernel module: the kernel's include/linux/module_signature.h.
_MODULE_MAGIC = b"~Module signature appended~\n"
_MODULE_INFO = 12  # bytes of struct module_signature
_MODULES = (".ko", ".ko.xz", ".ko.zst", ".ko.gz")
_MOST_MODULE = 1 << 30


def unsigned(name: str, blob: Blob, scratch: Scratch) -> Blob | None:
    """The bytes without their signature; None when the file is of no kind that carries one.

    A compressed kernel module is unpacked: whoever signs packs anew.

    Raises:
        UnreadableError: the file is of such a kind, and damaged.
    """
    if is_portable(blob):
        return read_portable(blob).unsigned
    if name.endswith(_MODULES):
        if packing(blob.read(0, 8)):
            blob, _ = unpack(blob, scratch.new(), _MOST_MODULE)
        return _bare_module(blob)
    return None


def _bare_module(blob: Blob) -> Blob:
    end = blob.size - len(_MODULE_MAGIC)
    if end < _MODULE_INFO or blob.read(end, len(_MODULE_MAGIC)) != _MODULE_MAGIC:
        return blob
    _, _, _, signer, key, _, signature = struct.unpack(">5B3sI", blob.read(end - _MODULE_INFO, _MODULE_INFO))
    length = end - _MODULE_INFO - signer - key - signature
    if length < 0:
        raise UnreadableError("damaged kernel module: its signature is longer than itself")
    return blob.slice(0, length)
