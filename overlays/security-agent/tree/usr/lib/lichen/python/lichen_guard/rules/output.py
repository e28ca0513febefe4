"""What a rule says: a template filled in with an event's fields."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from lichen_agent.escape import escape

from .fields import Facts, Found, Plain, find_field
from .problems import Place
from .text import Text

MISSING = "<NA>"
MOST_LETTERS = 4096
MOST_LETTERS_OF_FIELD = 1024
PART = re.compile(r"%(?:(%)|\*?([a-zA-Z]\w*(?:\.[a-zA-Z]\w*)+)(?:\[([^\[\]\s]*)\])?)", re.ASCII)


@dataclass(frozen=True)
class Template:
    """Pieces in order: text, or a field with its name and its argument."""

    pieces: tuple[str | tuple[str, str | None], ...]

    @classmethod
    def of(cls, text: str) -> Template:
        """The template that an ``output`` means; a ``%`` before anything but a field stands for itself."""
        pieces: list[str | tuple[str, str | None]] = []
        at = 0
        words = " ".join(text.split())
        for part in PART.finditer(words):
            pieces.append(words[at : part.start()])
            pieces.append("%" if part.group(1) else (part.group(2), part.group(3)))
            at = part.end()
        pieces.append(words[at:])
        return cls(tuple(piece for piece in pieces if piece))

    def fill(self, facts: Facts) -> tuple[str, dict[str, Plain]]:
        """The text, and the fields in it; harmless to print and of bounded length."""
        words: list[str] = []
        fields: dict[str, Plain] = {}
        for piece in self.pieces:
            if isinstance(piece, str):
                words.append(piece)
                continue
            name, argument = piece
            field = find_field(name, argument)
            value = _harmless(field.read(facts) if field and facts.event.kind in field.kinds else None)
            fields[name if argument is None else f"{name}[{argument}]"] = value
            words.append(_shown(value))
        return escape("".join(words), MOST_LETTERS), fields


def missing_fields(text: Text) -> Mapping[str, Place]:
    """Fields of an ``output`` that the sensor cannot fill, and where each stands first."""
    missing: dict[str, Place] = {}
    for part in PART.finditer(text.value):
        name, argument = part.group(2), part.group(3)
        if name and not find_field(name, argument):
            missing.setdefault(name if argument is None else f"{name}[{argument}]", text.place(part.start()))
    return missing


def _harmless(value: Found) -> Plain:
    if isinstance(value, list):
        value = ",".join(str(one) for one in value)
    return escape(value, MOST_LETTERS_OF_FIELD) if isinstance(value, str) else value


def _shown(value: Plain) -> str:
    if value is None:
        return MISSING
    return str(value).lower() if isinstance(value, bool) else str(value)
