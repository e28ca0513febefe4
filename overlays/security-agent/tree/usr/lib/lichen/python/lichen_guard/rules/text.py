"""Pieces of a rule file that know where each of their letters stands."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import yaml

from .problems import Place

# What YAML's marks count as the end of a line.
LINE_END = re.compile("\r\n|[\r\n\x85\u2028\u2029]")


class Mark(Protocol):
    """Where YAML saw something; both count from 0."""

    line: int
    column: int


class Source:
    """The contents of a file."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text

    @cached_property
    def starts(self) -> list[int]:
        """Where each line starts."""
        return [0, *(end.end() for end in LINE_END.finditer(self.text))]

    def offset(self, mark: Mark | None) -> int:
        """Of what YAML calls a mark; libyaml leaves none out."""
        if mark is None:
            return 0
        return self.starts[min(mark.line, len(self.starts) - 1)] + mark.column

    def place(self, offset: int) -> Place:
        """Of an offset."""
        line = bisect_right(self.starts, offset)
        return Place(self.name, line, offset - self.starts[line - 1] + 1)


@dataclass(frozen=True)
class _Piece:
    """A scalar of YAML: its value begins at ``at`` of the whole text."""

    at: int
    source: Source
    start: int
    end: int
    block: bool
    value: str


@dataclass(frozen=True)
class Text:
    """A text made of one or more scalars (later files append to conditions)."""

    value: str
    _pieces: tuple[_Piece, ...] = field(repr=False)

    @classmethod
    def of(cls, source: Source, scalar: yaml.ScalarEvent) -> Text:
        """The text that a scalar of the file holds."""
        start, end = source.offset(scalar.start_mark), source.offset(scalar.end_mark)
        return cls(scalar.value, (_Piece(0, source, start, end, scalar.style in ("|", ">"), scalar.value),))

    def __add__(self, other: Text) -> Text:
        """Both with a blank between them, as Falco appends."""
        shift = len(self.value) + 1
        moved = (_Piece(p.at + shift, p.source, p.start, p.end, p.block, p.value) for p in other._pieces)
        return Text(f"{self.value} {other.value}", (*self._pieces, *moved))

    def place(self, offset: int = 0) -> Place:
        """Where the letter at ``offset`` stands in its file."""
        piece = next(p for p in reversed(self._pieces) if p.at <= offset or p.at == 0)
        return piece.source.place(_locate(piece, offset - piece.at))


def _locate(piece: _Piece, wanted: int) -> int:
    """Offset in the file of a letter of the scalar's value.

    YAML folds lines, strips indentation and knows escapes; but except for blanks the letters come in the same order, so
    both are walked side by side.
    """
    text, at = piece.source.text, piece.start
    if piece.block:  # what follows > or | on its line is no part of the value
        header = LINE_END.search(text, at)
        at = header.end() if header else piece.end
    last = at
    for letter in piece.value[: wanted + 1]:
        if letter.isspace():
            continue
        found = text.find(letter, at, piece.end)
        if found < 0:  # written as an escape
            continue
        last, at = found, found + 1
    return last if wanted < len(piece.value) else at  # behind the last letter
