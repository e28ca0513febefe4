"""A comparison as rows of tables, the same for a terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from builder.cli.text import size
from builder.data.comparison import Changed, Comparison, Moved, News, Resized, Side

CVES = 8  # named for one changelog; of more their number is told
Row = tuple[str, ...]
# What a comparison's sections are called, and the headers of their tables.
MOVED: tuple[tuple[str, str], ...] = (
    ("deb", "packages"),
    ("wheel", "wheels"),
    ("model", "models"),
    ("repository", "repositories"),
    ("tool", "tools"),
)
CHANGED: tuple[tuple[str, str], ...] = (
    ("services", "services"),
    ("privileged", "set-user-ID and set-group-ID files"),
    ("ports", "open ports"),
    ("kernel_options", "kernel options"),
    ("facts", "other"),
)
SIDES = ("", "given", "profile", "architecture", "lock", "packages", "wheels", "files")
MOVE = ("", "name", "old", "new")
CHANGE = ("name", "old", "new")
SIZES = ("owner", "old", "new", "change")
DUPLICATES = ("file", "brought by", "same bytes", "could be saved")
# Columns that hold nothing but words and figures of ours.
PLAIN = frozenset({"", "packages", "wheels", "files", "change", "same bytes", "could be saved"})


def side_rows(comparison: Comparison) -> list[Row]:
    """Both sides, one row each."""
    return [_side_row("old", comparison.old), _side_row("new", comparison.new)]


def _side_row(word: str, side: Side) -> Row:
    packages, wheels = f"{side.packages}, {size(side.package_bytes)}", f"{side.wheels}, {size(side.wheel_bytes)}"
    files = "" if side.file_bytes is None else size(side.file_bytes)
    return word, side.given, side.profile, side.architecture, side.lock[:12], packages, wheels, files


def moved_rows(moved: Sequence[Moved], what: str) -> list[Row]:
    """Packages, wheels or others."""
    return [(item.kind, item.name, item.old or "", item.new or "") for item in moved if item.what == what]


def changed_rows(changed: Sequence[Changed]) -> list[Row]:
    """Anything that has an old and a new value."""
    return [(item.name, item.old or "", item.new or "") for item in changed]


def size_rows(sizes: Sequence[Resized]) -> list[Row]:
    """Owners of files, and how much more or less they bring."""
    return [(item.owner, size(item.old), size(item.new), _signed(item.new - item.old)) for item in sizes]


def _signed(count: int) -> str:
    return f"{'-' if count < 0 else '+'}{size(abs(count))}"


def duplicate_rows(comparison: Comparison) -> list[Row]:
    """Large files that several owners bring."""
    return [
        (item.name, ", ".join(item.owners), "yes" if item.identical else "no", size(item.saved))
        for item in comparison.duplicates
    ]


def news_title(told: News) -> str:
    """``apt 3.0.3 → 3.0.4 (apt, apt-utils)``."""
    back = ", what is lost by going back" if told.older else ""
    return f"{told.source} {told.old} → {told.new} ({', '.join(told.packages)}){back}"


def news_lines(told: News) -> Iterator[str]:
    """Lines of a changelog, or why there are none."""
    if told.absent:
        yield told.absent
        return
    if told.cves:
        more = f" and {len(told.cves) - CVES} more" if len(told.cves) > CVES else ""
        yield f"tells of {', '.join(told.cves[:CVES])}{more}"
    yield from told.lines
    if told.more:
        yield f"and {told.more} more lines"
