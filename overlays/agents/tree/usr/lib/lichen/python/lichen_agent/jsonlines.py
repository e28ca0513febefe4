"""A log file of one JSON object per line, moved aside when it is large enough, never more than a bound together."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

MODE = 0o640


class LineLog:
    """Writes it.

    Args:
        path: of the newest file; older ones have ``.1`` and so on behind their name.
        largest: bytes after which a file is moved aside; ``files``: how many there are at most.
    """

    def __init__(self, path: Path, largest: int, files: int) -> None:
        self.path, self.largest, self.files = path, largest, files

    def write(self, record: Mapping[str, object]) -> None:
        """Append one record.

        Raises:
            OSError: the disk is full, or the folder is missing or not ours.
        """
        line = json.dumps(record).encode() + b"\n"
        # Opened each time: whoever removes or moves the file gets a new one, not silence.
        descriptor = self._open()
        try:
            size = os.fstat(descriptor).st_size
            if size and size + len(line) > self.largest:
                os.close(descriptor)
                descriptor = -1
                self._rotate()
                descriptor = self._open()
            elif size and os.pread(descriptor, 1, size - 1) != b"\n":
                line = b"\n" + line  # after a full disk or a kill; half a line must not spoil the next
            if os.write(descriptor, line) < len(line):
                raise OSError(28, "No space left on device", str(self.path))
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self.path, flags, MODE)
        os.fchmod(descriptor, MODE)
        return descriptor

    def _rotate(self) -> None:
        names = numbered(self.path, self.files)
        for older, newer in reversed(list(zip(names[1:], names, strict=False))):
            if newer.exists():
                os.replace(newer, older)
        if self.files == 1:
            self.path.unlink()


def numbered(path: Path, files: int) -> list[Path]:
    """The log's files, the newest first, whether they exist or not."""
    return [path, *(path.with_name(f"{path.name}.{number}") for number in range(1, files))]


def read_lines(path: Path, files: int) -> Iterator[bytes]:
    """All lines, the oldest first.

    Raises:
        OSError: a file is there and cannot be read.
    """
    for file in reversed(numbered(path, files)):
        try:
            with file.open("rb") as opened:
                yield from opened
        except FileNotFoundError:
            continue


def parsed(line: bytes) -> Mapping[str, object] | None:
    """The record of a line; None when it is damaged."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
