"""A short diff for a person: a few lines of text, a few rows of bytes, or what diffoscope says."""

from __future__ import annotations

import difflib
import shutil
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from builder.foundation.errors import LichenError
from builder.foundation.inside.blob import Blob
from builder.foundation.inside.tree import shown
from builder.foundation.process import Runner
from builder.steps.compare.packed import Scratch

WHOLE = 1 << 20  # bytes up to which contents are looked at as a whole
_BEFORE, _AROUND = 4096, 256 << 10
_LINES, _WIDTH = 12, 160
_ROWS, _ROW = 3, 16
_LARGEST = 64 << 20  # bytes of a file that diffoscope is given
SECONDS = 60.0
_REPORT = 40  # lines
_TIMES = 20  # how often diffoscope is asked in one comparison


def windows(first: Blob, second: Blob, offset: int) -> tuple[bytes, bytes, int]:
    """Both contents when they are small, else a stretch of each around the first difference; and where it begins."""
    if max(first.size, second.size) <= WHOLE:
        return first.read(), second.read(), 0
    start = max(0, offset - _BEFORE)
    return first.read(start, _AROUND), second.read(start, _AROUND), start


def short_diff(first: bytes, second: bytes, start: int = 0) -> str:
    """A few lines of what differs.

    Args:
        start: where in the file both begin, for the offsets of binary contents.
    """
    if _is_text(first) and _is_text(second):
        return _text_diff(first.decode("utf-8", "replace"), second.decode("utf-8", "replace"))
    length = min(len(first), len(second))
    at = next((index for index in range(length) if first[index] != second[index]), length)
    row = at - at % _ROW
    rows = [f"first difference at offset {start + at}"]
    rows += [f"-{line}" for line in _hex(first, row, start)] + [f"+{line}" for line in _hex(second, row, start)]
    return "\n".join(rows)


@dataclass
class Diffoscope:
    """diffoscope, when this machine has it; asked a few times only, each with a time limit."""

    runner: Runner
    scratch: Scratch
    program: str | None = field(default_factory=lambda: shutil.which("diffoscope"))
    _left: int = _TIMES

    def says(self, name: str, first: Blob, second: Blob) -> str:
        """Its report, shortened; empty when it is not there, says nothing, or takes too long."""
        if not self.program or not self._left or max(first.size, second.size) > _LARGEST:
            return ""
        self._left -= 1
        ending = "".join(char for char in Path(name).suffix if char.isalnum() or char == ".")[:16]
        paths = [blob.write(self.scratch.new().with_suffix(ending)) for blob in (first, second)]
        words = [self.program, "--text", "-", "--no-progress", "--max-text-report-size", "65536", *map(str, paths)]
        try:
            done = self.runner.run(words, timeout=SECONDS, check=False)
        except LichenError:
            return ""
        finally:
            for path in paths:
                path.unlink()
        # 1 means that it found differences; anything else is its own trouble.
        return _clip(done.stdout.splitlines(), _REPORT) if done.returncode == 1 else ""


def _is_text(content: bytes) -> bool:
    if b"\0" in content:
        return False
    # A window may begin and end within a character.
    return len(content[4:-4].decode("utf-8", "ignore").encode()) >= len(content[4:-4]) - 8


def _text_diff(first: str, second: str) -> str:
    ours, theirs = first.splitlines(), second.splitlines()
    if max(len(ours), len(theirs)) > 20_000:  # difflib takes minutes for more
        at = next((i for i, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]), 0)
        ours, theirs = ours[at : at + 100], theirs[at : at + 100]
    lines = list(islice(difflib.unified_diff(ours, theirs, n=0, lineterm=""), 2, 2 + _LINES + 1))
    if not lines:
        return "only the line ends differ"
    return _clip(lines, _LINES)


def _clip(lines: list[str], most: int) -> str:
    kept = [shown(line if len(line) <= _WIDTH else f"{line[:_WIDTH]}...") for line in lines[:most]]
    return "\n".join([*kept, "..."] if len(lines) > most else kept)


def _hex(content: bytes, row: int, start: int) -> list[str]:
    return [
        f"{start + place:08x}: {content[place : place + _ROW].hex(' ')}"
        for place in range(row, min(row + _ROWS * _ROW, len(content)), _ROW)
    ]
