"""What a person names to be compared: a lock, a manifest, an image folder or a profile, on disk or in git."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from builder.data.comparison import Kind
from builder.data.contents import CONTENTS, FileEntry, read_contents
from builder.data.lock import Deb, Lock, Wheel, iso_date
from builder.data.manifest import Manifest
from builder.foundation.errors import InputError, Problem
from builder.foundation.process import ProcessError
from builder.foundation.workbench import Workbench
from builder.steps.profiles import load_buildable, profile_names

_NAMES = "name a lock, a manifest.json, an image folder, a profile, or REVISION:PATH of a file in git"


@dataclass(frozen=True)
class Subject:
    """One side of a comparison, read.

    Attributes:
        given: what the person called it.
        document: the lock, or the image's manifest.
        folder: the image folder, where there is one.
    """

    given: str
    document: Lock | Manifest
    folder: Path | None = None

    @property
    def kind(self) -> Kind:
        """What it is."""
        if isinstance(self.document, Lock):
            return "lock"
        return "image" if self.folder else "manifest"

    @property
    def lock(self) -> str:
        """Digest of the lock, or of the one that the image was made from."""
        return self.document.digest if isinstance(self.document, Lock) else self.document.lock

    @property
    def debs(self) -> tuple[Deb, ...]:
        """Packages of the image and its initrd."""
        debs = self.document.debs if isinstance(self.document, Lock) else self.document.packages
        return tuple(deb for deb in debs if {"image", "initrd"} & set(deb.uses))

    @property
    def wheels(self) -> tuple[Wheel, ...]:
        """Wheels of the image."""
        return tuple(wheel for wheel in self.document.wheels if "image" in wheel.uses)

    @property
    def date(self) -> str:
        """Of the youngest index that versions were chosen from."""
        return iso_date(datetime.fromtimestamp(self.document.source_date_epoch, UTC))

    def contents(self) -> list[FileEntry] | None:
        """Every file of the image; None when the folder has no list of them.

        Raises:
            InputError: the list is damaged.
        """
        path = self.folder / CONTENTS if self.folder else None
        return list(read_contents(path)) if path and path.exists() else None


def read_subject(workbench: Workbench, given: str) -> Subject:
    """What ``given`` names. A profile's name means its lock, also where a file has the same name.

    Raises:
        InputError: there is nothing of that name, or it is none of what can be compared.
    """
    path = Path(given)
    if given in profile_names(workbench.project):
        recipe = load_buildable(workbench.project, given)
        path = workbench.project.lock(given, recipe.require_architecture(None))
        if not path.exists():
            why = "it was never made"
            raise InputError(Problem("there is no lock for this profile", str(path), why, f"run `lichen lock {given}`"))
    if path.is_dir():
        manifest = path / "manifest.json"
        if not manifest.exists():
            why = "it has no manifest.json"
            raise InputError(Problem("this is not a complete image folder", str(path), why, _NAMES))
        # Absolute, since the results of its test lie beside it.
        return Subject(given, parse_document(_text(manifest), str(manifest)), path.absolute())
    if path.exists():
        return Subject(given, parse_document(_text(path), str(path)))
    if ":" in given:
        return Subject(given, parse_document(_from_git(workbench, given), given))
    near = difflib.get_close_matches(given, profile_names(workbench.project), n=3)
    remedy = f"did you mean {' or '.join(near)}?" if near else _NAMES
    raise InputError(Problem(f"there is nothing called {given!r} to compare", str(path.absolute()), "", remedy))


def parse_document(text: str, where: str) -> Lock | Manifest:
    """The lock or manifest that ``text`` is.

    Raises:
        InputError: it is neither, or damaged.
    """
    try:
        raw = json.loads(text)
    except ValueError as error:
        raise InputError(
            Problem("this is neither a lock nor a manifest", where, f"not JSON: {error}", _NAMES)
        ) from None
    keys = set(raw) if isinstance(raw, dict) else set()
    try:
        if "artefacts" in keys:
            # JSON has no tuples: strict models take its lists only in JSON mode.
            return Manifest.model_validate_json(text)
        if "resolution" in keys:
            return Lock.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        what = f"the {'manifest' if 'artefacts' in keys else 'lock'} is damaged, or of another version of Lichen"
        raise InputError(Problem(what, f"{where}: {place}", first["msg"], "make it anew, or name another")) from error
    why = "JSON without the keys of either"
    raise InputError(Problem("this is neither a lock nor a manifest", where, why, _NAMES))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(Problem("a file cannot be read", str(path), str(error), _NAMES)) from error


def _from_git(workbench: Workbench, given: str) -> str:
    command = ["git", "show", "--end-of-options", given]
    try:
        return workbench.runner.run(command, cwd=workbench.project.root).stdout
    except ProcessError as error:
        revision, _, path = given.partition(":")
        remedy = f"fetch {revision} if it is a branch of another repository; {path} counts from the repository's root"
        why = error.completed.stderr.strip()
        raise InputError(Problem("git does not have this file", given, why, remedy)) from error
