"""Collects differences: where, what, why, with a short diff; a thousand of one kind are told as twenty and a number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from builder.data.verification import Difference
from builder.steps.compare.causes import find_cause
from builder.steps.compare.clue import Aspect, Clue

_MOST = 20  # differences of one kind in one part that are told each by itself


@dataclass(frozen=True)
class Place:
    """Where a difference lies; see :class:`builder.data.verification.Difference`."""

    artefact: str
    part: str = ""
    path: str = ""

    def within(self, name: str) -> Place:
        """A part or file of this place."""
        return replace(self, path=f"{self.path}: {name}" if self.path else name)


@dataclass
class Notes:
    """The differences found so far.

    Attributes:
        conditions: of both builds.
        digests: of what differs, per side: SHA-256 to a name.
        files: paths of the disk's files that differ.
    """

    conditions: tuple[Mapping[str, str], Mapping[str, str]]
    digests: tuple[dict[str, str], dict[str, str]] = field(default_factory=lambda: ({}, {}))
    files: set[str] = field(default_factory=set)
    _kept: list[Difference] = field(default_factory=list)
    _counted: Counter[tuple[str, str, str, str | None]] = field(default_factory=Counter)

    @property
    def count(self) -> int:
        """How many differences were found, those that are not told by themselves included."""
        return self._counted.total()

    def causes(self, artefact: str) -> set[str | None]:
        """All causes found within an artefact."""
        return {cause for name, _, _, cause in self._counted if name == artefact}

    def clue(self, aspect: Aspect, path: str, first: bytes, second: bytes) -> Clue:
        """What a recogniser gets to see."""
        return Clue(aspect, path, first, second, self.conditions, self.digests, frozenset(self.files))

    def add(
        self, place: Place, what: str, aspect: Aspect, values: tuple[str, str], evidence: str | None = None
    ) -> None:
        """Note that a value differs; it is its own evidence unless told otherwise."""
        path = what if aspect == "field" else place.path
        clue = self.clue(aspect, path, *(value.encode() for value in values))
        cause = find_cause(clue)
        shown = " | ".join(values) if evidence is None else evidence
        self.note(place, what, cause.name if cause else None, lambda: shown)

    def note(self, place: Place, what: str, cause: str | None, evidence: Callable[[], str]) -> None:
        """Note a difference whose cause is known or known to be unknown; ``evidence`` is asked for when it is told."""
        if place.artefact == "image.raw" and place.path:
            self.files.add(place.path)
        key = (place.artefact, place.part, what, cause)
        self._counted[key] += 1
        if self._counted[key] <= _MOST:
            self._kept.append(
                Difference(
                    artefact=place.artefact,
                    part=place.part,
                    path=place.path,
                    what=what,
                    cause=cause,
                    evidence=evidence(),
                )
            )

    def differences(self) -> tuple[Difference, ...]:
        """All of them, with a last one for each kind that has more than are told."""
        more = [
            Difference(artefact=artefact, part=part, what=f"{what}: {count - _MOST} more files", cause=cause)
            for (artefact, part, what, cause), count in self._counted.items()
            if count > _MOST
        ]
        return (*self._kept, *more)
