"""Compares what lies within two things: files of file systems and archives, sections of executables, contents.

With signatures left out, a thing is the same when all within is the same but for signatures; it then has a digest of
what lies within, for its bytes cannot be the same: a signed file is longer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, NamedTuple

from builder.foundation.digest import digest_value
from builder.foundation.inside.blob import Blob
from builder.foundation.inside.portable import Portable, is_portable, read_portable
from builder.foundation.inside.tree import Entry, Tree, UnreadableError
from builder.steps.compare.causes import CONSEQUENCE, find_cause
from builder.steps.compare.cpio import is_cpio, read_initrd
from builder.steps.compare.deb import is_deb, read_deb
from builder.steps.compare.evidence import Diffoscope, short_diff, windows
from builder.steps.compare.metadata import changes, moments
from builder.steps.compare.notes import Notes, Place
from builder.steps.compare.packed import Scratch, packing, unpack
from builder.steps.compare.signatures import unsigned

_MOST_UNPACKED = 1 << 28
# Fields of a file system that follow from what it holds.
_ROOM_FIELDS = ("free blocks", "free inodes", "kilobytes written")
SIDES = ("first", "second")


class Verdict(NamedTuple):
    """Whether two things are the same, on which basis, and the digest that both have then."""

    same: bool
    basis: Literal["bytes", "unsigned", "listing"] = "bytes"
    digest: str = ""


_DIFFERENT = Verdict(False)


@dataclass(frozen=True)
class Comparison:
    """One comparison of two images: what it writes to, and whether signatures are left out.

    Attributes:
        twins: digests of two artefacts that were compared already, their name and what was found: a UKI lies in the
            disk once more.
        bare: per side, SHA-256 of a signed thing and what it is without signature; documents name the former.
    """

    notes: Notes
    scratch: Scratch
    diffoscope: Diffoscope
    strip: bool
    twins: dict[tuple[str, str], tuple[str, Verdict]] = field(default_factory=dict)
    bare: tuple[dict[str, str], dict[str, str]] = field(default_factory=lambda: ({}, {}))

    def remember(self, raw: tuple[str, str], verdict: Verdict) -> None:
        """Note what two signed things are without their signatures."""
        for side, digest in zip(self.bare, raw, strict=True):
            side[digest] = verdict.digest

    def differing(self, raw: tuple[str, str], name: str) -> None:
        """Note the digests of something that differs."""
        for side, digest in zip(self.notes.digests, raw, strict=True):
            side[digest] = name

    def blobs(self, place: Place, name: str, first: Blob, second: Blob) -> Verdict:
        """Compare two files' contents; ``name`` tells kernel modules and initrds."""
        if first.first_difference(second) is None:
            return Verdict(True, "bytes", first.digest() if self.strip else "")
        verdict = self._unsigned(name, first, second) if self.strip else _DIFFERENT
        if not verdict.same:
            verdict = self._inside(place, name, first, second)
        if verdict.same:
            self.remember((first.digest(), second.digest()), verdict)
        return verdict

    def trees(self, place: Place, first: Tree, second: Tree) -> Verdict:
        """Compare two file systems or archives, file by file."""
        before = self.notes.count
        self._missing(place, first, second)
        listing: list[tuple[str, str]] = []
        signed = False
        for path in sorted(first.entries.keys() & second.entries.keys()):
            verdict = self._entries(place.within(path), path, first.entries[path], second.entries[path])
            signed |= verdict.basis != "bytes"
            listing.append((path, verdict.digest))
        if first.entries.keys() == second.entries.keys():
            self._order(place, first, second)
        for name in sorted(first.fields.keys() | second.fields.keys()):
            values = first.fields.get(name, "none"), second.fields.get(name, "none")
            if values[0] == values[1] or (signed and name in _ROOM_FIELDS):
                continue
            what = f"file system's {name}"
            if name in _ROOM_FIELDS and self.notes.count > before:
                self.notes.note(place, what, CONSEQUENCE, partial(" | ".join, values))
            else:
                self.notes.add(place, what, "field", values)
        if self.notes.count > before or not signed:
            return _DIFFERENT
        return Verdict(True, "listing", digest_value([listing, dict(first.fields)]))

    def portables(
        self, place: Place, first: Portable, second: Portable, parts: dict[str, Verdict] | None = None
    ) -> Verdict:
        """Compare two executables, section by section.

        Args:
            parts: filled with the sections' verdicts when sections are parts, not files of a part.
        """
        if self.strip and first.unsigned.first_difference(second.unsigned) is None:
            return Verdict(True, "unsigned", first.unsigned.digest())
        before = self.notes.count
        verdicts: dict[str, Verdict] = {}
        for name in sorted(first.sections.keys() | second.sections.keys()):
            here = place.within(name) if parts is None else Place(place.artefact, name)
            ours, theirs = first.sections.get(name), second.sections.get(name)
            if ours is None or theirs is None:
                self.notes.note(here, f"section only in the {SIDES[ours is None]}", None, str)
            else:
                verdicts[name] = self.blobs(here, name, ours, theirs)
        if parts is not None:
            parts.update(verdicts)
        for name, value in first.fields.items():
            if value != second.fields[name]:
                self.notes.add(place, f"header's {name}", "field", (value, second.fields[name]))
        if first.signed != second.signed and not self.strip:
            self.notes.note(place, f"signature only in the {SIDES[second.signed]}", None, str)
        if self.notes.count > before or all(verdict.basis == "bytes" for verdict in verdicts.values()):
            return _DIFFERENT
        listing = [(name, verdict.digest) for name, verdict in verdicts.items()]
        return Verdict(True, "listing", digest_value([listing, dict(first.fields)]))

    def rest_of_portable(self, place: Place, whole: tuple[Blob, Blob], read: tuple[Portable, Portable]) -> None:
        """Note that executables differ whose sections are the same."""
        if read[0].outside.first_difference(read[1].outside) is not None:
            self.residue(place, "content outside sections", read[0].outside, read[1].outside)
        else:
            self.residue(place, "signature", *whole)

    def residue(self, place: Place, what: str, first: Blob, second: Blob) -> None:
        """Note that bytes differ which belong to nothing that is known."""
        offset = first.first_difference(second) or 0
        pair = windows(first, second, offset)
        cause = find_cause(self.notes.clue("content", what, pair[0], pair[1]))
        self.notes.note(place, what, cause.name if cause else None, lambda: short_diff(*pair))

    def plain(self, place: Place, name: str, first: Blob, second: Blob) -> None:
        """Note that two contents differ, and why."""
        ours, theirs, what = first, second, "content"
        form = packing(first.read(0, 8))
        if form and form == packing(second.read(0, 8)):
            unpacked = self._unpacked(first, second)
            if unpacked and unpacked[0].first_difference(unpacked[1]) is not None:
                (ours, theirs), what = unpacked, f"content ({form})"
        pair = windows(ours, theirs, ours.first_difference(theirs) or 0)
        if place.path:
            self.differing((first.digest(), second.digest()), place.path)
        cause = find_cause(self.notes.clue("content", place.path or name, pair[0], pair[1]))
        self.notes.note(
            place,
            what,
            cause.name if cause else None,
            lambda: self.diffoscope.says(name, first, second) or short_diff(*pair),
        )

    def _unsigned(self, name: str, first: Blob, second: Blob) -> Verdict:
        try:
            ours, theirs = unsigned(name, first, self.scratch), unsigned(name, second, self.scratch)
        except UnreadableError:
            return _DIFFERENT  # a file of that kind only by name; compared as it is
        if ours is None or theirs is None or ours.first_difference(theirs) is not None:
            return _DIFFERENT
        return Verdict(True, "unsigned", ours.digest())

    def _inside(self, place: Place, name: str, first: Blob, second: Blob) -> Verdict:
        """Two contents that differ, compared by what lies within when that can be read."""
        before = self.notes.count
        try:
            if is_portable(first) and is_portable(second):
                if twin := self.twins.get((first.digest(), second.digest())):
                    return self._twin(place, *twin)
                pair = read_portable(first), read_portable(second)
                verdict = self.portables(place, *pair)
                if not verdict.same and self.notes.count == before:
                    self.rest_of_portable(place, (first, second), pair)
                return verdict
            if read := _archive_reader(name, first, second):
                verdict = self.trees(place, read(first, self.scratch), read(second, self.scratch))
                if not verdict.same and self.notes.count == before:
                    self.residue(place, "packing of the same members", first, second)
                return verdict
        except UnreadableError:
            if self.notes.count > before:
                raise
        self.plain(place, name, first, second)
        return _DIFFERENT

    def _twin(self, place: Place, artefact: str, verdict: Verdict) -> Verdict:
        if not verdict.same:
            causes = self.notes.causes(artefact)
            cause = causes.pop() if len(causes) == 1 else None
            self.notes.note(place, f"content: the same file as {artefact}, told there", cause, str)
        return verdict

    def _entries(self, place: Place, path: str, first: Entry, second: Entry) -> Verdict:
        before = self.notes.count
        for change in changes(first, second):
            told = moments(first, second) if change.aspect == "times" else None
            self.notes.add(place, change.what, change.aspect, (change.first, change.second), told)
        verdict = Verdict(True)
        if first.content is not None and second.content is not None:
            verdict = self.blobs(place, path, first.content, second.content)
        if self.notes.count > before or not verdict.same:
            return _DIFFERENT
        if not self.strip:
            return verdict
        kept = [first.kind, first.mode, first.uid, first.gid, dict(first.times), first.link, dict(first.other)]
        return verdict._replace(digest=digest_value([kept, verdict.digest]))

    def _missing(self, place: Place, first: Tree, second: Tree) -> None:
        """Note entries of one side; one that is alone in its folder on both sides may be one file of two names."""
        trees = first, second
        ours = _by_folder(first.entries.keys() - second.entries.keys())
        theirs = _by_folder(second.entries.keys() - first.entries.keys())
        for side, (names, others) in enumerate(((ours, theirs), (theirs, ours))):
            for folder, paths in sorted(names.items()):
                for path in sorted(paths):
                    pair = others.get(folder, [])
                    other = pair[0] if len(pair) == len(paths) == 1 else ""
                    if other and trees[side].entries[path].kind != trees[1 - side].entries[other].kind:
                        other = ""
                    values = (path, other) if side == 0 else (other, path)
                    evidence = f"the {SIDES[1 - side]} has {other}" if other else ""
                    self.notes.add(place.within(path), f"only in the {SIDES[side]}", "name", values, evidence)

    def _order(self, place: Place, first: Tree, second: Tree) -> None:
        for what, ours, theirs in (
            ("order in which files were written", _written(first), _written(second)),
            ("order of folders' entries", list(first.entries), list(second.entries)),
        ):
            pairs = [pair for pair in zip(ours, theirs, strict=True) if pair[0] != pair[1]]
            if pairs:
                told = f"{len(pairs)} files; the first: {pairs[0][0]} | {pairs[0][1]}"
                self.notes.add(place, what, "order", pairs[0], told)
                return

    def _unpacked(self, first: Blob, second: Blob) -> tuple[Blob, Blob] | None:
        try:
            return (
                unpack(first, self.scratch.new(), _MOST_UNPACKED)[0],
                unpack(second, self.scratch.new(), _MOST_UNPACKED)[0],
            )
        except UnreadableError:
            return None


def _written(tree: Tree) -> list[str]:
    return sorted(tree.entries, key=tree.numbers.__getitem__)


def _by_folder(paths: Iterable[str]) -> dict[str, list[str]]:
    folders: dict[str, list[str]] = {}
    for path in paths:
        folders.setdefault(path.rpartition("/")[0], []).append(path)
    return folders


def _archive_reader(name: str, first: Blob, second: Blob) -> Callable[[Blob, Scratch], Tree] | None:
    """What reads both as archives; None when they are none."""
    if _is_initrd(name, first) and _is_initrd(name, second):
        return read_initrd
    return read_deb if is_deb(first) and is_deb(second) else None


def _is_initrd(name: str, blob: Blob) -> bool:
    last = name.rpartition("/")[2]
    named = last.startswith((".initrd", "initrd", "initramfs")) or ".cpio" in last
    return named and (is_cpio(blob) or bool(packing(blob.read(0, 8))))
