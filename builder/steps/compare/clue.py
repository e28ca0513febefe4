"""What a recogniser of causes gets to see of one difference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

# content: of a file; name: of a file that only one of both has; mode, owner, times, order: as they say; field: a field
# of a file system, partition table or header.
Aspect = Literal["content", "name", "mode", "owner", "times", "order", "field", "other"]


@dataclass(frozen=True)
class Clue:
    """One difference, and the conditions of both builds.

    Attributes:
        path: of the file, or the field's name.
        first: the content (a stretch around the first difference when it is large), the name, or the value as text.
        conditions: of both builds; empty when they are not known. Keys that are understood: ``hostname``, ``path``,
            ``user``, ``home``, ``locale``, ``timezone``, ``clock`` (seconds since 1970 or ISO 8601), ``jobs``,
            ``cpus``.
        digests: of what differs on each side, for documents that name them: SHA-256 to name.
        files: paths that differ in the root file system, for the document that lists it.
    """

    aspect: Aspect
    path: str
    first: bytes
    second: bytes
    conditions: tuple[Mapping[str, str], Mapping[str, str]] = ({}, {})
    digests: tuple[Mapping[str, str], Mapping[str, str]] = field(default=({}, {}))
    files: frozenset[str] = frozenset()

    def told(self, key: str) -> tuple[bytes, bytes] | None:
        """The condition of both builds when it is known and was not the same."""
        first, second = (side.get(key, "") for side in self.conditions)
        return (first.encode(), second.encode()) if first and second and first != second else None
