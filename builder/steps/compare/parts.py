"""Compares what an artefact consists of: the partitions of a disk image, the sections of an executable (a UKI)."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from builder.data.verification import Compared
from builder.foundation.digest import digest_value
from builder.foundation.inside.blob import Blob
from builder.foundation.inside.disk import Disk, read_disk
from builder.foundation.inside.erofs import is_erofs
from builder.foundation.inside.ext4 import is_ext4, read_ext4
from builder.foundation.inside.portable import read_portable
from builder.foundation.inside.tree import Tree
from builder.foundation.process import Runner
from builder.foundation.toolbox import Toolbox
from builder.steps.compare.erofs import read_erofs
from builder.steps.compare.fat import is_fat, read_fat
from builder.steps.compare.notes import Place
from builder.steps.compare.within import SIDES, Comparison, Verdict

OUTSIDE_PARTITIONS, OUTSIDE_SECTIONS = "outside partitions", "outside sections"
Pair = tuple[str | None, str | None]


def row(name: str, raw: Pair, verdict: Verdict | None = None) -> Compared:
    """The row of one artefact or part; ``verdict`` counts when it says more than the bytes' own digests ``raw``."""
    if verdict and verdict.same and raw[0] != raw[1]:
        return Compared(name=name, first=verdict.digest, second=verdict.digest, basis=verdict.basis)
    return Compared(name=name, first=raw[0], second=raw[1])


def executable_rows(comparison: Comparison, name: str, first: Blob, second: Blob) -> list[Compared]:
    """Compare two portable executables; a row for the file, for each section, and for the rest.

    Raises:
        UnreadableError: one of both is damaged.
    """
    read = read_portable(first), read_portable(second)
    whole, parts = _digests(
        (first, second),
        (
            {**read[0].sections, OUTSIDE_SECTIONS: read[0].around},
            {**read[1].sections, OUTSIDE_SECTIONS: read[1].around},
        ),
    )
    verdicts: dict[str, Verdict] = {}
    verdict = Verdict(whole[0] == whole[1])
    if not verdict.same:
        comparison.differing(whole, name)
        before = comparison.notes.count
        verdict = comparison.portables(Place(name), *read, verdicts)
        if not verdict.same and comparison.notes.count == before:
            comparison.rest_of_portable(Place(name), (first, second), read)
        comparison.twins[whole] = name, verdict
        if verdict.same:
            comparison.remember(whole, verdict)
            verdicts[OUTSIDE_SECTIONS] = verdict
        if comparison.strip and read[0].outside.first_difference(read[1].outside) is None:
            verdicts[OUTSIDE_SECTIONS] = Verdict(True, "unsigned", read[0].outside.digest())
    rows = [row(f"{name}: {part}", pair, verdicts.get(part)) for part, pair in parts.items()]
    return [row(name, whole, verdict), *rows]


@dataclass(frozen=True)
class Disks:
    """Compares disk images with the tools of the tools tree."""

    toolbox: Toolbox
    runner: Runner
    comparison: Comparison

    def compare(self, name: str, first: Path, second: Path) -> list[Compared]:
        """A row for the disk, for each partition, and for the rest.

        Raises:
            InputError: one is no disk image, or is cut short.
            UnreadableError: a file system that differs is damaged.
        """
        disks = read_disk(first, self.toolbox, self.runner), read_disk(second, self.toolbox, self.runner)
        skipped = {*disks[0].signatures, *disks[1].signatures} if self.comparison.strip else set[str]()
        sides = _sides(disks[0], skipped), _sides(disks[1], skipped)
        whole, parts = _digests((disks[0].blob, disks[1].blob), sides)
        if whole[0] == whole[1]:
            return [row(name, whole), *(row(f"{name}: {part}", pair) for part, pair in parts.items())]
        self.comparison.differing(whole, name)
        verdicts: dict[str, Verdict] = {}
        for part, raw in parts.items():
            ours, theirs = sides[0].get(part), sides[1].get(part)
            if raw[0] == raw[1]:
                verdicts[part] = Verdict(True, "bytes", raw[0] or "")
            elif ours is None or theirs is None:
                what = f"partition only in the {SIDES[ours is None]}"
                self.comparison.notes.note(Place(name, part), what, None, str)
                verdicts[part] = Verdict(False)
            elif part == OUTSIDE_PARTITIONS:
                verdicts[part] = self._table(Place(name, part), disks, skipped)
            else:
                verdicts[part] = self._partition(Place(name, part), ours, theirs)
        listing = [(part, verdict.digest) for part, verdict in verdicts.items()]
        verdict = Verdict(all(item.same for item in verdicts.values()), "listing", digest_value(listing))
        if verdict.same:
            self.comparison.remember(whole, verdict)
        rows = [row(f"{name}: {part}", pair, verdicts[part]) for part, pair in parts.items()]
        return [row(name, whole, verdict), *rows]

    def _table(self, place: Place, disks: tuple[Disk, Disk], skipped: set[str]) -> Verdict:
        """What is in no partition: fields of the partition table, or else bytes that belong to nothing."""
        notes = self.comparison.notes
        before = notes.count
        ours, theirs = (_fields(disk, skipped) for disk in disks)
        for key in sorted(ours.keys() | theirs.keys()):
            values = ours.get(key, "none"), theirs.get(key, "none")
            if values[0] != values[1]:
                notes.add(place, f"partition table's {key}", "field", values)
        if notes.count > before:
            return Verdict(False)
        if skipped:
            return Verdict(True, "listing", digest_value(ours))
        self.comparison.residue(place, "bytes of no partition", disks[0].outside, disks[1].outside)
        return Verdict(False)

    def _partition(self, place: Place, first: Blob, second: Blob) -> Verdict:
        ours, theirs = self._tree(first), self._tree(second)
        if ours is None or theirs is None:
            self.comparison.residue(place, "bytes; no file system that is known", first, second)
            return Verdict(False)
        before = self.comparison.notes.count
        verdict = self.comparison.trees(place, ours, theirs)
        if not verdict.same and self.comparison.notes.count == before:
            self.comparison.residue(place, "bytes of no file, the file system's own", first, second)
        return verdict

    def _tree(self, blob: Blob) -> Tree | None:
        if is_ext4(blob):
            return read_ext4(blob)
        if is_erofs(blob):
            return read_erofs(blob, self.toolbox, self.runner, self.comparison.scratch.new())
        return read_fat(blob) if is_fat(blob) else None


def _sides(disk: Disk, skipped: set[str]) -> dict[str, Blob]:
    parts = {name: blob for name, blob in disk.parts.items() if name not in skipped}
    return {**parts, OUTSIDE_PARTITIONS: disk.outside}


def _fields(disk: Disk, skipped: set[str]) -> dict[str, str]:
    endings = tuple(f" of {part}" for part in skipped)
    return {key: value for key, value in disk.fields.items() if not endings or not key.endswith(endings)}


def _digests(
    wholes: tuple[Blob, Blob], sides: tuple[Mapping[str, Blob], Mapping[str, Blob]]
) -> tuple[tuple[str, str], dict[str, Pair]]:
    """SHA-256 of both things and of each of their parts; both at once, as hashing lets other threads run."""

    def side(index: int) -> tuple[str, dict[str, str]]:
        return wholes[index].digest(), {name: blob.digest() for name, blob in sides[index].items()}

    with ThreadPoolExecutor(2) as pool:
        (first, ours), (second, theirs) = pool.map(side, (0, 1))
    names = [*sides[0], *(name for name in sides[1] if name not in sides[0])]
    return (first, second), {name: (ours.get(name), theirs.get(name)) for name in names}
