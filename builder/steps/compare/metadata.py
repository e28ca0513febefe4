"""What differs between two entries besides their content."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from builder.foundation.inside.tree import Entry
from builder.steps.compare.clue import Aspect


class Change(NamedTuple):
    """One aspect that differs: its name for people, and both values as text."""

    aspect: Aspect
    what: str
    first: str
    second: str


def changes(first: Entry, second: Entry) -> Iterator[Change]:
    """Everything but content that differs between two entries of one path."""
    if first.kind != second.kind:
        yield Change("other", "kind", first.kind, second.kind)
        return
    if first.mode != second.mode:
        yield Change("mode", "mode", f"{first.mode:04o}", f"{second.mode:04o}")
    if (first.uid, first.gid) != (second.uid, second.gid):
        yield Change("owner", "owner", f"{first.uid}:{first.gid}", f"{second.uid}:{second.gid}")
    if first.link != second.link:
        yield Change("other", "link target", first.link, second.link)
    for name in sorted({*first.other, *second.other}):
        if first.other.get(name) != second.other.get(name):
            yield Change("other", name, first.other.get(name, "none"), second.other.get(name, "none"))
    times = [name for name in first.times if first.times[name] != second.times.get(name)]
    if times:
        yield Change("times", f"times: {', '.join(times)}", _told(first.times, times), _told(second.times, times))


def moments(first: Entry, second: Entry) -> str:
    """The time stamps that differ, for a person."""
    lines = []
    for name, value in first.times.items():
        other = second.times.get(name, 0)
        if value != other:
            lines.append(f"{name}: {_moment(value)} | {_moment(other)}")
    return "\n".join(lines)


def _told(times: Mapping[str, int], names: list[str]) -> str:
    return " ".join(f"{name}={times.get(name, 0)}" for name in names)


def _moment(nanoseconds: int) -> str:
    seconds, fraction = divmod(nanoseconds, 10**9)
    try:
        text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        text = str(seconds)
    return f"{text}.{fraction:09}" if fraction else text
