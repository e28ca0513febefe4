"""The log of all changes: one JSON object per line, moved aside when large enough, never more than a bound together."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from lichen_agent.escape import escape
from lichen_agent.jsonlines import LineLog, parsed, read_lines


class AuditLog(LineLog):
    """Writes it: ``changes.jsonl``."""

    def tell(self, record: Mapping[str, object]) -> None:
        """Append one change, with the time on the wall.

        Raises:
            OSError: the disk is full, or the folder is missing.
        """
        self.write({"time": round(time.time(), 3), **record})


def read_log(path: Path, files: int = 100) -> Iterator[Mapping[str, object]]:
    """All records, the oldest first; lines that are damaged are passed over.

    Raises:
        OSError: a file is there and cannot be read.
    """
    yield from filter(None, map(_change, read_lines(path, files)))


def record_text(record: Mapping[str, object]) -> str:
    """One change as a line for people; whoever wrote into the file, it prints as itself."""
    at = record["time"]
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at)) if isinstance(at, int | float) else str(at)
    told = [str(record.get(name, "")) for name in ("unit", "knob", "from", "to", "actor", "reason")]
    unit, knob, before, after, actor, reason = (escape(text, 400) for text in told)
    return f"{escape(when, 40)} {unit} {knob} {before} -> {after} by {actor}: {reason}"


def _change(line: bytes) -> Mapping[str, object] | None:
    record = parsed(line)
    return record if record and "time" in record and "unit" in record else None
