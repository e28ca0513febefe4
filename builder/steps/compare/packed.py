"""Compressed data, unpacked into scratch files one frame after the other."""

from __future__ import annotations

import itertools
import lzma
import zlib
from pathlib import Path
from typing import Protocol

import zstandard

from builder.foundation.inside.blob import Blob
from builder.foundation.inside.tree import UnreadableError

_MOST = 16 << 30  # bytes that may come out of one frame: a small file must not fill the disk with zeros
_STEP = 4 << 10  # bytes put in at a time, so that what comes out at once stays small as well


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


def packing(head: bytes) -> str:
    """``zstd``, ``xz``, ``gzip``, or empty when the first bytes are of none of them."""
    signs = {b"\x28\xb5\x2f\xfd": "zstd", b"\xfd7zXZ\0": "xz", b"\x1f\x8b\x08": "gzip"}
    return next((name for sign, name in signs.items() if head.startswith(sign)), "")


def unpack(blob: Blob, destination: Path, most: int = _MOST) -> tuple[Blob, int]:
    """Unpack the one frame that ``blob`` begins with into a new file; returns that and the frame's bytes.

    Raises:
        UnreadableError: damaged, cut short, or larger than ``most`` bytes.
    """
    engine = _engine(packing(blob.read(0, 8)))
    taken = written = 0
    try:
        with destination.open("wb") as stream:
            for chunk in blob.chunks():
                for start in range(0, len(chunk), _STEP):
                    step = chunk[start : start + _STEP]
                    taken += len(step)
                    written += stream.write(engine.decompress(step))
                    if written > most:
                        raise UnreadableError(f"compressed data unpacks to more than {most} bytes")
                    if engine.eof:
                        stream.flush()
                        return Blob.of_file(destination), taken - len(engine.unused_data)
    except (lzma.LZMAError, zlib.error, zstandard.ZstdError) as error:
        raise UnreadableError(f"damaged compressed data: {error}") from error
    raise UnreadableError("compressed data is cut short")


def _engine(name: str) -> _Decompressor:
    if name == "zstd":
        return zstandard.ZstdDecompressor().decompressobj()
    if name == "xz":
        return lzma.LZMADecompressor(lzma.FORMAT_XZ)
    if name == "gzip":
        return zlib.decompressobj(31)
    raise UnreadableError("not compressed in a way that is known")


class Scratch:
    """A folder for unpacked things; every name is used once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._numbers = itertools.count()

    def new(self) -> Path:
        """A path that nobody has used; its folder is there, it is not."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / str(next(self._numbers))
