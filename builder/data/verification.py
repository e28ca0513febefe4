"""``IMAGE.verify.json`` beside an image folder: what ``lichen verify`` built, compared and found."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator

from builder.data.model import Frozen, Sha256, _tuple
from builder.foundation.digest import canonical_json
from builder.foundation.errors import InputError, Problem


class Difference(Frozen):
    """One place where two artefacts differ.

    Attributes:
        artefact: file of the image folder, as in ``image.raw``.
        part: partition of a disk or section of a UKI that it lies in; empty for the artefact itself.
        path: file within that part; empty when the difference is in what is around files (a file system's own blocks).
            Within a file that holds others (a UKI, its initrd) their names follow, each after a colon and a blank.
        what: what differs, in a few words: content, mode, owner, times, only in one of both.
        cause: name of the known cause that it looks like (see ``builder/steps/compare/causes.py``), or None.
        evidence: a short diff, for a person.
    """

    artefact: str
    part: str = ""
    path: str = ""
    what: str
    cause: str | None = None
    evidence: str = ""


class Compared(Frozen):
    """One artefact, or one part of it, of both images. A digest is None where that image has none.

    Attributes:
        name: the artefact, as in ``image.raw``, or the artefact and its part, as in ``image.raw: esp``.
        basis: what the digests are of. ``bytes``: all of it, always unless signatures are left out. ``unsigned``: the
            bytes without a signature. ``listing``: what lies within, one by one and without signatures (a signed file
            is longer, so the bytes around it cannot be the same).
    """

    name: str
    first: Sha256 | None
    second: Sha256 | None
    basis: Literal["bytes", "unsigned", "listing"] = "bytes"

    @property
    def identical(self) -> bool:
        """Whether both have the same bytes, or the same but for signatures where those are left out."""
        return self.first is not None and self.first == self.second


class Rebuild(Frozen):
    """One image that was built, or published by somebody, and compared with the first."""

    number: int
    conditions: dict[str, str]
    seconds: float
    compared: Annotated[tuple[Compared, ...], BeforeValidator(_tuple)]
    differences: Annotated[tuple[Difference, ...], BeforeValidator(_tuple)] = ()

    @property
    def identical(self) -> bool:
        """Whether every artefact is the same."""
        return all(item.identical for item in self.compared)


class Verification(Frozen):
    """A whole run of ``lichen verify``. ``seed`` chose the conditions of each rebuild."""

    format: Literal[1] = 1
    profile: str
    architecture: str
    lock: Sha256
    against: str | None = None
    seed: int | None = None
    rebuilds: Annotated[tuple[Rebuild, ...], BeforeValidator(_tuple)]

    @property
    def identical(self) -> bool:
        """Whether all rebuilds gave the same bytes."""
        return all(rebuild.identical for rebuild in self.rebuilds)

    def text(self) -> str:
        """The file's exact content."""
        return canonical_json(self.model_dump(mode="json"))


def read_verification(path: Path) -> Verification:
    """Read the result of an earlier run.

    Raises:
        InputError: missing or not of this format.
    """
    try:
        return Verification.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        remedy = "run `lichen verify PROFILE`"
        raise InputError(
            Problem("the result of a verification cannot be read", str(path), str(error), remedy)
        ) from error
