"""Compares two image folders, or packages: every artefact, partition, section; hashing alone when all is the same."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from builder.data.manifest import ENVELOPE, LOG, SIGNATURE
from builder.data.verification import Compared, Difference
from builder.foundation.atomic import disk_error
from builder.foundation.digest import digest_bytes
from builder.foundation.errors import InputError, Problem
from builder.foundation.inside.blob import Blob
from builder.foundation.inside.tree import UnreadableError
from builder.foundation.process import Runner
from builder.foundation.toolbox import Toolbox
from builder.steps.compare.causes import CONSEQUENCE
from builder.steps.compare.documents import settled
from builder.steps.compare.evidence import Diffoscope, short_diff
from builder.steps.compare.marks import consequence
from builder.steps.compare.notes import Notes, Place
from builder.steps.compare.packed import Scratch
from builder.steps.compare.parts import Disks, executable_rows, row
from builder.steps.compare.within import SIDES, Comparison, Verdict

# The build's log tells times and folders of the one build that it is of; it has no checksum either. Signatures beside
# the image come from a later stage and change no byte of it.
NOT_COMPARED = frozenset({LOG, SIGNATURE, ENVELOPE})
_DOCUMENTS = (".json", ".jsonl", "SHA256SUMS")
# Documents name digests of what comes before them here: a UKI lies in the disk, checksums name everything.
_ORDER = ("image.efi", "image.raw", "contents.jsonl", "sbom.spdx.json", "sbom.cdx.json", "manifest.json")
_LAST = ("provenance.json", "SHA256SUMS")
_MOST_DOCUMENT = 1 << 28


def compare_images(
    first: Path,
    second: Path,
    toolbox: Toolbox,
    runner: Runner,
    scratch: Path,
    *,
    strip_signatures: bool = False,
    conditions: tuple[Mapping[str, str], Mapping[str, str]] = ({}, {}),
) -> tuple[tuple[Compared, ...], tuple[Difference, ...]]:
    """Compare two finished image folders byte for byte; explain what differs.

    ``build.log`` and what ``lichen sign`` adds are not compared. With ``strip_signatures`` neither are other detached
    signatures (``*.sig``) and partitions that hold only a signature; see
    :attr:`builder.data.verification.Compared.basis` for the rest.

    Args:
        scratch: an existing folder for what must be unpacked; what is left there may go afterwards.
        conditions: of both builds, for telling causes; see :class:`builder.steps.compare.clue.Clue`.

    Raises:
        InputError: a folder is no image folder, or something in it that differs cannot be read: damaged, cut short.
        LichenError: the disk is full.
    """
    shelf = Scratch(scratch)
    comparison = Comparison(Notes(conditions), shelf, Diffoscope(runner, shelf), strip_signatures)
    images = _Images((first, second), Disks(toolbox, runner, comparison), comparison)
    names = [_artefacts(folder, strip_signatures) for folder in (first, second)]
    for name in sorted(names[0] | names[1], key=_rank):
        with _faults_told(name, (first, second), scratch):
            images.artefact(name, (name in names[0], name in names[1]))
    return tuple(images.rows), comparison.notes.differences()


def compare_packages(
    first: Path,
    second: Path,
    runner: Runner,
    scratch: Path,
    *,
    conditions: tuple[Mapping[str, str], Mapping[str, str]] = ({}, {}),
) -> tuple[tuple[Compared, ...], tuple[Difference, ...]]:
    """Compare all Debian packages below two folders, whose names are unique there; explain what differs within.

    Args:
        scratch, conditions: as of :func:`compare_images`.

    Raises:
        InputError: a package that differs is damaged.
        LichenError: the disk is full.
    """
    shelf = Scratch(scratch)
    comparison = Comparison(Notes(conditions), shelf, Diffoscope(runner, shelf), strip=False)
    sides = [{path.name: path for path in folder.rglob("*.deb")} for folder in (first, second)]
    rows = []
    for name in sorted({*sides[0], *sides[1]}):
        with _faults_told(name, (first, second), scratch):
            ours, theirs = (Blob.of_file(side[name]) if name in side else None for side in sides)
            digests = [blob.digest() if blob else None for blob in (ours, theirs)]
            rows.append(Compared(name=name, first=digests[0], second=digests[1]))
            if ours and theirs:
                comparison.blobs(Place(name), name, ours, theirs)
            else:
                comparison.notes.note(Place(name), f"only in the {SIDES[ours is None]}", None, str)
    return tuple(rows), comparison.notes.differences()


@contextlib.contextmanager
def _faults_told(name: str, folders: tuple[Path, Path], scratch: Path) -> Iterator[None]:
    """What cannot be read in the block is bad input and named; what the disk refuses is an error of its own."""
    try:
        yield
    except UnreadableError as error:
        what, remedy = f"{name} differs and cannot be read", "build or fetch it again"
        raise InputError(Problem(what, ", ".join(map(str, folders)), str(error), remedy)) from error
    except OSError as error:
        raise disk_error(error, scratch) from error


def _artefacts(folder: Path, strip: bool) -> set[str]:
    remedy = "name a folder that `lichen build` made"
    try:
        states = {path.name: path.lstat().st_mode for path in folder.iterdir()}
    except OSError as error:
        why = error.strerror or str(error)
        raise InputError(Problem("this is no image folder", str(folder), why, remedy)) from error
    if not {"image.raw", "manifest.json"} & states.keys():
        why = "neither image.raw nor manifest.json is in it"
        raise InputError(Problem("this is no image folder", str(folder), why, remedy))
    for name, mode in states.items():
        if not stat.S_ISREG(mode):
            raise InputError(Problem("this is no image folder", str(folder / name), "this is no ordinary file", remedy))
    return {name for name in states if name not in NOT_COMPARED and not (strip and name.endswith(".sig"))}


def _rank(name: str) -> tuple[int, str]:
    if name in _ORDER:
        return _ORDER.index(name), name
    return len(_ORDER) + 1 + _LAST.index(name) if name in _LAST else len(_ORDER), name


class _Images:
    """One comparison of two folders under way."""

    def __init__(self, folders: tuple[Path, Path], disks: Disks, comparison: Comparison) -> None:
        self.folders, self.disks, self.comparison = folders, disks, comparison
        self.rows: list[Compared] = []

    def artefact(self, name: str, there: tuple[bool, bool]) -> None:
        """Compare one file of the folders; add its rows and differences."""
        first, second = (folder / name for folder in self.folders)
        if not all(there):
            digests = [
                Blob.of_file(path).digest() if has else None for path, has in zip((first, second), there, strict=True)
            ]
            self.rows.append(Compared(name=name, first=digests[0], second=digests[1]))
            self.comparison.notes.note(Place(name), f"only in the {SIDES[there[1]]}", None, str)
        elif name == "image.raw":
            self.rows += self.disks.compare(name, first, second)
        elif name.endswith(".efi"):
            self.rows += executable_rows(self.comparison, name, Blob.of_file(first), Blob.of_file(second))
        else:
            self.rows.append(self._file(name, Blob.of_file(first), Blob.of_file(second)))

    def _file(self, name: str, first: Blob, second: Blob) -> Compared:
        raw = first.digest(), second.digest()
        if raw[0] == raw[1]:
            return row(name, raw)
        document = name.endswith(_DOCUMENTS) and max(first.size, second.size) <= _MOST_DOCUMENT
        if self.comparison.strip and document:
            texts = [
                settled(name, blob.read().decode(errors="backslashreplace"), bare)
                for blob, bare in zip((first, second), self.comparison.bare, strict=True)
            ]
            if texts[0] == texts[1]:
                verdict = Verdict(True, "unsigned", digest_bytes(texts[0].encode()))
                self.comparison.remember(raw, verdict)
                return row(name, raw, verdict)
        if not (document and self._follows(name, first, second)):
            self.comparison.plain(Place(name), name, first, second)
        self.comparison.differing(raw, name)
        return row(name, raw)

    def _follows(self, name: str, first: Blob, second: Blob) -> bool:
        """Whether a document differs only because of what it tells of; looked at as a whole, however long it is."""
        notes = self.comparison.notes
        contents = first.read(), second.read()
        if not consequence(notes.clue("content", name, *contents)):
            return False
        notes.note(Place(name), "content", CONSEQUENCE, lambda: short_diff(*contents))
        return True
