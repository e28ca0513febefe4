"""Bytes of a file without having them in memory: a partition, a file within it, a section, with or without a signature.

A :class:`Blob` is a list of stretches of one file and of zeros. A slice of it is a blob again, and so is what is left
when a signature is cut out, so everything below an image is read and hashed in the same way.
"""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate
from pathlib import Path

from builder.foundation.digest import CHUNK
from builder.foundation.sparse import extents

_ZEROS = bytes(CHUNK)
Piece = tuple[int | None, int]  # offset in the file, None for zeros; number of bytes


class Blob:
    """Stretches of one file, read as one. Immutable; holds no open file."""

    def __init__(self, path: Path, pieces: Iterable[Piece]) -> None:
        self.path = path
        self.pieces: tuple[Piece, ...] = tuple(_merged(pieces))
        self._starts = (0, *accumulate(length for _, length in self.pieces))

    @classmethod
    def of_file(cls, path: Path) -> Blob:
        """A whole file; its holes are known as zeros.

        Raises:
            OSError: it cannot be read.
        """
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            found = list(extents(stream.fileno(), size))
        return cls(path, ((start if data else None, end - start) for start, end, data in found))

    @property
    def size(self) -> int:
        """Bytes."""
        return self._starts[-1]

    def slice(self, start: int, length: int) -> Blob:
        """``length`` bytes from ``start``, fewer at the end."""
        return Blob(self.path, self._within(start, length))

    def joined(self, other: Iterable[Blob]) -> Blob:
        """The same bytes followed by those of others of the same file."""
        pieces = list(self.pieces)
        for blob in other:
            pieces += blob.pieces
        return Blob(self.path, pieces)

    def padded(self, length: int) -> Blob:
        """The same bytes followed by ``length`` zeros."""
        return Blob(self.path, (*self.pieces, (None, length)))

    def without(self, start: int, length: int) -> Blob:
        """What is left when ``length`` bytes from ``start`` are cut out."""
        return self.slice(0, start).joined([self.slice(start + length, self.size)])

    def zeroed(self, start: int, length: int) -> Blob:
        """The same with ``length`` bytes from ``start`` read as zeros."""
        return self.slice(0, start).padded(length).joined([self.slice(start + length, self.size)])

    def read(self, start: int = 0, length: int | None = None) -> bytes:
        """The bytes themselves; for small ranges."""
        return b"".join(self.slice(start, self.size if length is None else length).chunks())

    def chunks(self) -> Iterator[bytes]:
        """All bytes, at most a mebibyte at a time."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            for offset, length in self.pieces:
                for position in range(0, length, CHUNK):
                    count = min(CHUNK, length - position)
                    if offset is None:
                        yield _ZEROS[:count]
                    else:
                        data = os.pread(descriptor, count, offset + position)
                        yield data + bytes(count - len(data))  # shorter only if somebody truncates it meanwhile
        finally:
            os.close(descriptor)

    def digest(self) -> str:
        """SHA-256, in lower-case hexadecimal."""
        state = hashlib.sha256()
        for chunk in self.chunks():
            state.update(chunk)
        return state.hexdigest()

    def write(self, destination: Path) -> Path:
        """Write the bytes to a new file, for a tool that wants one."""
        with destination.open("wb") as stream:
            for chunk in self.chunks():
                stream.write(chunk)
        return destination

    def first_difference(self, other: Blob) -> int | None:
        """Offset of the first byte that differs (the shorter's size when one is the other's beginning), or None."""
        for position in range(0, max(self.size, other.size), CHUNK):
            ours, theirs = self.read(position, CHUNK), other.read(position, CHUNK)
            if ours != theirs:
                length = min(len(ours), len(theirs))
                return position + next((i for i in range(length) if ours[i] != theirs[i]), length)
        return None

    def _within(self, start: int, length: int) -> Iterator[Piece]:
        start = max(0, start)
        end = min(start + max(0, length), self.size)
        index = max(0, bisect_right(self._starts, start) - 1)
        while start < end:
            offset, size = self.pieces[index]
            skip = start - self._starts[index]
            count = min(size - skip, end - start)
            yield (None if offset is None else offset + skip, count)
            start += count
            index += 1


def _merged(pieces: Iterable[Piece]) -> list[Piece]:
    """Neighbouring stretches made one: a file of 100 MB has 25,000 clusters."""
    merged: list[Piece] = []
    for offset, length in pieces:
        last, size = merged[-1] if merged else (None, 0)
        if size and (last is None if offset is None else last is not None and offset == last + size):
            merged[-1] = (last, size + length)
        elif length:
            merged.append((offset, length))
    return merged
