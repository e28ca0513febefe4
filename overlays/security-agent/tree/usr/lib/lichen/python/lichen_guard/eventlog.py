"""The log file: one JSON object per line, moved aside when it is large enough, never more than a bound together."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from lichen_agent.jsonlines import LineLog, numbered, parsed, read_lines

from .alertrecord import Record


class EventLog(LineLog):
    """Writes it: ``events.jsonl``."""

    def deliver(self, record: Record) -> None:
        """Append one record.

        Raises:
            OSError: the disk is full, or the folder is missing or not ours.
        """
        self.write(record.to_json())


def last_number(path: Path) -> int:
    """Number of the last record, 0 when there is none that can be read."""
    for file in numbered(path, 2):
        try:
            with file.open("rb") as opened:
                opened.seek(max(0, os.fstat(opened.fileno()).st_size - (1 << 20)))
                lines = opened.read().splitlines()
        except OSError:
            continue
        for record in map(_alert, reversed(lines)):
            if record:
                return int(record["number"])
    return 0


def read_log(path: Path, files: int = 100) -> Iterator[Mapping[str, object]]:
    """All records, the oldest first; lines that are damaged are passed over.

    Raises:
        OSError: a file is there and cannot be read.
    """
    yield from filter(None, map(_alert, read_lines(path, files)))


def follow_log(path: Path, pause: float = 0.2) -> Iterator[Mapping[str, object]]:
    """Records as they are written from now on, over rotations; never ends."""
    file, pending = _opened_at_end(path), b""
    while True:
        if file:
            pending += file.read()
            *lines, pending = pending.split(b"\n")
            yield from filter(None, map(_alert, lines))
        time.sleep(pause)
        try:
            current = path.stat().st_ino
        except FileNotFoundError:
            continue
        if not file or os.fstat(file.fileno()).st_ino != current:
            # The old file may have got a line since it was read last.
            rest = file.read() if file else b""
            yield from filter(None, map(_alert, (pending + rest).split(b"\n")))
            file, pending = path.open("rb"), b""


def _opened_at_end(path: Path):
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return None
    file.seek(0, os.SEEK_END)
    return file


def _alert(line: bytes) -> Mapping[str, object] | None:
    record = parsed(line)
    return record if record and isinstance(record.get("number"), int) else None
