"""A disk image: its partition table, its partitions, and what lies between them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from builder.foundation.errors import InputError, Problem
from builder.foundation.inside.blob import Blob
from builder.foundation.inside.tree import shown
from builder.foundation.process import ProcessError, Runner
from builder.foundation.toolbox import Toolbox

_BACKUP = 33  # sectors of the second partition table at the disk's end
# Types of partitions that hold nothing but the signature of a verity hash (the discoverable partitions specification):
# root and usr of x86-64, arm64 and riscv64.
_SIGNATURE_TYPES = frozenset(
    {
        *("41092B05-9FC8-4523-994F-2DEF0408B176", "E7BB33FB-06CF-4E81-8273-E543B413E2E2"),
        *("6DB69DE6-29F4-4758-A7A5-962190F00CE3", "C23CE4FF-44BD-4B00-B2D4-B41B3419E02A"),
        *("EFE0F087-EA8D-4469-821A-4C2A96A8386A", "D2F9000A-7A18-453F-B5CD-4D32F77A7B32"),
    }
)


@dataclass(frozen=True)
class Disk:
    """A disk image with a GPT.

    Attributes:
        parts: partitions by name, in the order of the table.
        outside: everything that is in no partition: both partition tables, gaps.
        fields: the table's own fields, by name.
    """

    blob: Blob
    parts: Mapping[str, Blob]
    outside: Blob
    fields: Mapping[str, str]

    @property
    def signatures(self) -> tuple[str, ...]:
        """Names of partitions that hold only a signature."""
        return tuple(name for name in self.parts if self.fields[f"type of {name}"].upper() in _SIGNATURE_TYPES)


def read_disk(path: Path, toolbox: Toolbox, runner: Runner) -> Disk:
    """The partitions of a disk image.

    Raises:
        InputError: it has no partition table, or is cut short.
    """
    blob = Blob.of_file(path)
    try:
        done = runner.run(toolbox.command(["sfdisk", "--json", path.absolute()], readable=[path.absolute()]))
        table = json.loads(done.stdout)["partitiontable"]
        if table["label"] != "gpt":
            raise ValueError(f"its partition table is {table['label']}, not gpt")
        sector = int(table["sectorsize"])
        if (int(table["lastlba"]) + 1 + _BACKUP) * sector > blob.size:
            raise ValueError(f"it has {blob.size} bytes, fewer than its partition table says: it is cut short")
        return _disk(blob, table, sector)
    except ProcessError as error:
        raise _bad(path, error.completed.stderr.strip()) from error
    except (ValueError, KeyError, TypeError) as error:
        raise _bad(path, str(error)) from error


def _disk(blob: Blob, table: Mapping[str, object], sector: int) -> Disk:
    found: list[tuple[str, int, int]] = []
    fields = {"disk UUID": str(table["id"]), "sector size": str(sector)}
    partitions = table.get("partitions", [])
    if not isinstance(partitions, list):
        raise ValueError("its partition table is not a list")
    for number, item in enumerate(partitions, start=1):
        name = shown(str(item.get("name", ""))) or f"partition {number}"
        if any(name == taken for taken, _, _ in found):
            name = f"{name} ({number})"
        start, size = int(item["start"]) * sector, int(item["size"]) * sector
        if start + size > blob.size:
            raise ValueError(f"partition {name} ends beyond its {blob.size} bytes: it is cut short")
        found.append((name, start, size))
        said = {"type": item["type"], "UUID": item["uuid"], "start": start, "size": size}
        fields |= {f"{key} of {name}": str(value) for key, value in said.items()}
        fields[f"attributes of {name}"] = str(item.get("attrs", ""))
    gaps, position = [], 0
    for _, start, size in sorted(found, key=lambda part: part[1]):
        gaps.append(blob.slice(position, start - position))
        position = start + size
    gaps.append(blob.slice(position, blob.size))
    parts = {name: blob.slice(start, size) for name, start, size in found}
    return Disk(blob, parts, Blob(blob.path, ()).joined(gaps), fields)


def _bad(path: Path, why: str) -> InputError:
    return InputError(Problem("the disk image cannot be read", str(path), why, "build or fetch the image again"))
