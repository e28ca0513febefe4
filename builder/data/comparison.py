"""What differs between two locks, manifests or images: the result of ``lichen diff``.

Every section is empty when nothing differs there; what could not be compared stands in ``notes``, with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator

from builder.data.duplicates import Duplicate
from builder.data.model import Frozen, Sha256, Strings, _tuple

Kind = Literal["lock", "manifest", "image"]


class Side(Frozen):
    """One of the two, as a person reads it.

    Attributes:
        given: what the person called it.
        lock: digest of the lock, or of the one that the image was made from.
        package_bytes: of the files that are fetched, before they are unpacked; ``wheel_bytes`` likewise.
        file_bytes: of all files of the root file system; None when the list of files is not there.
    """

    given: str
    kind: Kind
    profile: str
    architecture: str
    lock: Sha256
    packages: int
    package_bytes: int
    wheels: int
    wheel_bytes: int
    file_bytes: int | None = None


class Moved(Frozen):
    """Something that only one side has, or each in another version, or (``changed``) of one version in other bytes.

    Attributes:
        old: the version; of a repository the fingerprint of its key, of a model the start of its SHA-256.
    """

    kind: Literal["added", "removed", "moved", "changed"]
    what: Literal["deb", "wheel", "tool", "model", "repository"]
    name: str
    old: str | None
    new: str | None


class Changed(Frozen):
    """Something with another value on each side; None where a side has nothing of it."""

    name: str
    old: str | None
    new: str | None


class News(Frozen):
    """What a source package's changelog tells between two versions.

    Attributes:
        packages: the binary packages of it that moved.
        older: the version moved back; the lines tell what is lost.
        lines: the first lines, indented as in the changelog; ``more`` lines follow there.
        cves: every vulnerability that the lines name, also those left out.
        absent: why there are no lines; empty when there are.
    """

    source: str
    packages: Strings
    old: str
    new: str
    older: bool = False
    lines: Strings = ()
    more: int = 0
    cves: Strings = ()
    absent: str = ""


class Resized(Frozen):
    """Bytes of all files of one owner; 0 where a side has none."""

    owner: str
    old: int
    new: int


class Note(Frozen):
    """Something that a person should know of the comparison: what, where it lies, why."""

    what: str
    where: str
    why: str


class Comparison(Frozen):
    """Everything that differs. ``duplicates`` are those that only the new side has."""

    old: Side
    new: Side
    facts: Annotated[tuple[Changed, ...], BeforeValidator(_tuple)] = ()
    moved: Annotated[tuple[Moved, ...], BeforeValidator(_tuple)] = ()
    news: Annotated[tuple[News, ...], BeforeValidator(_tuple)] = ()
    kernel_options: Annotated[tuple[Changed, ...], BeforeValidator(_tuple)] = ()
    services: Annotated[tuple[Changed, ...], BeforeValidator(_tuple)] = ()
    privileged: Annotated[tuple[Changed, ...], BeforeValidator(_tuple)] = ()
    ports: Annotated[tuple[Changed, ...], BeforeValidator(_tuple)] = ()
    sizes: Annotated[tuple[Resized, ...], BeforeValidator(_tuple)] = ()
    duplicates: Annotated[tuple[Duplicate, ...], BeforeValidator(_tuple)] = ()
    notes: Annotated[tuple[Note, ...], BeforeValidator(_tuple)] = ()

    @property
    def same(self) -> bool:
        """Whether nothing was found that differs."""
        found = (self.facts, self.moved, self.kernel_options, self.services, self.privileged, self.ports, self.sizes)
        return not any(found)


def changed(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[Changed, ...]:
    """Every name whose value is not the same on both sides, sorted."""
    names = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
    return tuple(Changed(name=name, old=old.get(name), new=new.get(name)) for name in names)
