"""Raw results: a file of JSON lines that only grows, and survives the end of whoever writes it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .order import Plan

Record = dict[str, Any]


class JournalError(Exception):
    """The file cannot be gone on with; the message says why and what to do."""


def read(path: Path) -> list[Record]:
    """All records; a last line that was cut off by a crash does not count.

    Raises:
        JournalError: a line in the middle is damaged.
    """
    if not path.exists():
        return []
    pieces = path.read_bytes().split(b"\n")
    records = []
    # What follows the last newline is either nothing or half a record.
    for number, piece in enumerate(pieces[:-1], 1):
        try:
            record = json.loads(piece)
            if not isinstance(record, dict):
                raise ValueError("not an object")
        except ValueError as error:
            raise JournalError(f"{path}, line {number}: {error}; move the file away to begin anew") from error
        records.append(record)
    return records


def append(path: Path, records: Iterable[Record]) -> None:
    """Adds records, all on disk when this returns; half a record of an earlier crash goes."""
    text = "".join(json.dumps(record, sort_keys=True) + "\n" for record in records).encode()
    with path.open("a+b") as stream:
        stream.truncate(_whole(path))
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def _whole(path: Path) -> int:
    content = path.read_bytes()
    return content.rfind(b"\n") + 1


def resume(path: Path, plan: Plan) -> list[Record]:
    """The records of ``plan`` that are there; the first one names the plan, and is written when the file is new.

    Raises:
        JournalError: the file is of another plan, or damaged.
    """
    records = read(path)
    if not records:
        head = {"kind": "plan", "digest": plan.digest, "seed": plan.seed, "scale": plan.scale, "virtual": plan.virtual}
        append(path, [head])
        return [head]
    if records[0].get("digest") != plan.digest:
        said = f"it was begun with another plan ({records[0].get('digest')} instead of {plan.digest})"
        raise JournalError(f"{path}: {said}; give the same options and seed to go on, or another folder to begin anew")
    return records


def finished(records: Sequence[Record]) -> set[tuple[int, str]]:
    """Block and workload of the units that came to their end."""
    return {(int(record["block"]), str(record["workload"])) for record in records if record.get("kind") == "unit"}


def runs(records: Sequence[Record]) -> list[Record]:
    """The runs of finished units; those of a unit that broke off are done again and do not count."""
    whole = finished(records)
    found: dict[tuple[int, str, str], Record] = {}
    for record in records:
        if record.get("kind") == "run" and (record["block"], record["workload"]) in whole:
            found[record["block"], record["workload"], record["configuration"]] = record
    return list(found.values())
