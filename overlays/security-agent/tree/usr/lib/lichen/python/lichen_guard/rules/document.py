"""Rule files as YAML: what stands in them, with places. What it means is decided elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .problems import Fault, Place, Problem
from .text import Source, Text

# A rule set of this size would be refused by people before it is by us; without bounds a hostile file could eat memory.
MOST_BYTES = 4 << 20
MOST_NODES = 200_000
MOST_DEPTH = 32

# libyaml's where it is there: ten times as fast.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Value:
    """A node of YAML.

    Attributes:
        content: text, values in order, or names with values; names are unique.
        plain: text that stands without quotes, so that ``true`` is a truth value and ``3`` a number.
    """

    place: Place
    content: Text | tuple[Value, ...] | Mapping[str, Value]
    plain: bool = False

    @property
    def text(self) -> Text:
        """The text.

        Raises:
            Fault: it is something else.
        """
        if not isinstance(self.content, Text):
            raise self.fault("not a text", "a list or mapping stands where words are expected", "write a text")
        return self.content

    @property
    def items(self) -> tuple[Value, ...]:
        """The values of a list.

        Raises:
            Fault: it is something else.
        """
        if not isinstance(self.content, tuple):
            raise self.fault("not a list", "several values are expected here", "write [a, b] or one `- a` per line")
        return self.content

    @property
    def mapping(self) -> Mapping[str, Value]:
        """Names with values.

        Raises:
            Fault: it is something else.
        """
        if isinstance(self.content, Text | tuple):
            raise self.fault("not a mapping", "names with values are expected here", "write `name: value`")
        return self.content

    @property
    def truth(self) -> bool:
        """true or false.

        Raises:
            Fault: it is something else.
        """
        words = self.text.value.lower()
        if not self.plain or words not in ("true", "false", "yes", "no", "on", "off"):
            raise self.fault("neither true nor false", f"{self.text.value!r} stands there", "write true or false")
        return words in ("true", "yes", "on")

    @property
    def absent(self) -> bool:
        """Nothing stands there (``tags:``)."""
        return isinstance(self.content, Text) and self.plain and self.content.value in ("", "~", "null")

    def fault(self, what: str, why: str, remedy: str) -> Fault:
        """A fault at this place."""
        return Fault(self.place, what, why, remedy)


def read_document(path: Path) -> tuple[list[Value], list[Problem]]:
    """The items of a rule file, and what is wrong with its YAML.

    Raises:
        Fault: the file cannot be read, or is no YAML at all.
    """
    source = Source(str(path), _read(path))
    loader = LOADER(source.text)
    try:
        reader = _Reader(source, loader)
        root = reader.document()
    except yaml.YAMLError as error:
        raise _yaml_fault(source, error) from error
    finally:
        loader.dispose()
    return list(root.items if root else ()), reader.problems


def _read(path: Path) -> str:
    place = Place(str(path))
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise Fault(place, "cannot be read", error.strerror or str(error), "check path and permissions") from error
    if len(data) > MOST_BYTES:
        raise Fault(place, "too large", f"more than {MOST_BYTES >> 20} MiB", "split the file")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        where = Source(str(path), before).place(len(before))
        raise Fault(where, "not UTF-8", f"byte 0x{data[error.start]:02x}", "save the file as UTF-8") from error


def _yaml_fault(source: Source, error: yaml.YAMLError) -> Fault:
    remedy = "correct the YAML"
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        place = source.place(source.offset(mark)) if mark else Place(source.name)
        why = " ".join(word for word in (error.context, error.problem) if word)
        return Fault(place, "not YAML", why, remedy)
    if isinstance(error, yaml.reader.ReaderError):  # libyaml does not say the place as everybody else does
        wrong = yaml.reader.Reader.NON_PRINTABLE.search(source.text)
        place = source.place(wrong.start() if wrong else 0)
        return Fault(place, "not YAML", "a control character", "remove it, or write \\xNN in quotes")
    return Fault(Place(source.name), "not YAML", str(error), remedy)


class _Reader:
    """Makes values of what YAML's parser reports.

    Not of its trees: libyaml's binding makes them by recursion without a bound, and a file of brackets would end us.
    """

    def __init__(self, source: Source, parser: Any) -> None:
        self.source = source
        self.problems: list[Problem] = []
        self._parser = parser
        self._left = MOST_NODES
        self._anchors: dict[str, Value] = {}

    def document(self) -> Value | None:
        """What the file holds; None when it holds nothing."""
        self._next(yaml.StreamStartEvent)
        if self._at(yaml.StreamEndEvent):
            return None
        self._next(yaml.DocumentStartEvent)
        value = self._value(0)
        self._next(yaml.DocumentEndEvent)
        if not self._at(yaml.StreamEndEvent):
            place = self._place(self._parser.peek_event())
            raise Fault(place, "a second document", "a rule file is one list", "remove the line with ---")
        return value

    def _at(self, kind: type[yaml.Event]) -> bool:
        return isinstance(self._parser.peek_event(), kind)

    def _next(self, *kinds: type[yaml.Event]) -> yaml.Event:
        event = self._parser.get_event()
        if not isinstance(event, kinds):
            raise yaml.YAMLError(f"{event} where {kinds} belong")
        return event

    def _place(self, event: yaml.Event) -> Place:
        return self.source.place(self.source.offset(event.start_mark))

    def _value(self, depth: int) -> Value:
        event = self._parser.get_event()
        place = self._place(event)
        self._left -= 1
        if self._left < 0 or depth > MOST_DEPTH:
            raise Fault(place, "too much", "more values or deeper ones than rules need", "split the file")
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise Fault(place, f"no anchor {event.anchor!r}", "nothing before is called so", "write it out")
            return self._anchors[event.anchor]
        if isinstance(event, yaml.ScalarEvent):
            value = Value(place, Text.of(self.source, event), plain=not event.style)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = Value(place, tuple(self._until(yaml.SequenceEndEvent, depth)))
        else:
            value = Value(place, self._mapping(depth))
        if event.anchor:  # known from here on only, so nothing can hold itself
            self._anchors[event.anchor] = value
        return value

    def _until(self, end: type[yaml.Event], depth: int) -> Iterator[Value]:
        while not self._at(end):
            yield self._value(depth + 1)
        self._next(end)

    def _mapping(self, depth: int) -> dict[str, Value]:
        """Names and values; of a name that occurs twice, the first."""
        found: dict[str, Value] = {}
        values = self._until(yaml.MappingEndEvent, depth)
        for name, value in zip(values, values, strict=True):
            if not isinstance(name.content, Text):
                fault = name.fault("no name", "a list or mapping stands where a name belongs", "write `name: value`")
                self.problems.append(fault.problem)
            elif name.text.value in found:
                fault = name.fault(f"{name.text.value!r} twice", "only one can be meant", "keep one")
                self.problems.append(fault.problem)
            else:
                found[name.text.value] = value
        return found
