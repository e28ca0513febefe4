"""Conditions as trees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .problems import Place
from .text import Text


@dataclass(frozen=True)
class Spot:
    """A letter of a text; its place is worked out only when somebody asks."""

    text: Text
    at: int = 0

    @property
    def place(self) -> Place:
        """In the file."""
        return self.text.place(self.at)


@dataclass(frozen=True)
class Operand:
    """A word that a field is compared with; without quotes, it may be the name of a list."""

    word: str
    spot: Spot
    quoted: bool = False


@dataclass(frozen=True, eq=False)
class Check:
    """A comparison: ``proc.aname[2] in (sh, bash)``.

    Attributes:
        argument: what stands in brackets behind the field, or None.
        operator: ``=`` (also for ``==``), ``!=``, ``<``, ``in``, ``exists``, ...
        operands: none for ``exists``, one except for ``in``, ``pmatch`` and ``intersects``.
    """

    field: str
    argument: str | None
    operator: str
    operands: tuple[Operand, ...]
    spot: Spot

    @property
    def words(self) -> tuple[str, ...]:
        """The operands as plain words."""
        return tuple(operand.word for operand in self.operands)

    @property
    def whole_field(self) -> str:
        """The field with its argument."""
        return self.field if self.argument is None else f"{self.field}[{self.argument}]"


@dataclass(frozen=True, eq=False)
class Name:
    """A macro, called by its name."""

    name: str
    spot: Spot


@dataclass(frozen=True, eq=False)
class Not:
    """Its opposite."""

    part: Node


@dataclass(frozen=True, eq=False)
class And:
    """All of them."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, eq=False)
class Or:
    """One of them at least."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Constant:
    """Decided already."""

    value: bool


Node = Check | Name | Not | And | Or | Constant
TRUE, FALSE = Constant(True), Constant(False)


def all_of(parts: Iterator[Node]) -> Node:
    """The conjunction, as small as it gets; looks at parts until one decides."""
    kept: list[Node] = []
    for part in parts:
        if part == FALSE:
            return FALSE
        if isinstance(part, And):
            kept.extend(part.parts)
        elif part != TRUE:
            kept.append(part)
    return And(tuple(kept)) if len(kept) > 1 else kept[0] if kept else TRUE


def any_of(parts: Iterator[Node]) -> Node:
    """The disjunction, as small as it gets; looks at parts until one decides."""
    kept: list[Node] = []
    for part in parts:
        if part == TRUE:
            return TRUE
        if isinstance(part, Or):
            kept.extend(part.parts)
        elif part != FALSE:
            kept.append(part)
    return Or(tuple(kept)) if len(kept) > 1 else kept[0] if kept else FALSE


def opposite(part: Node) -> Node:
    """The negation, as small as it gets."""
    if isinstance(part, Constant):
        return Constant(not part.value)
    return part.part if isinstance(part, Not) else Not(part)


def checks(node: Node) -> Iterator[Check]:
    """All comparisons of a tree, from left to right."""
    match node:
        case Check():
            yield node
        case Not(part):
            yield from checks(part)
        case And(parts) | Or(parts):
            for part in parts:
                yield from checks(part)
