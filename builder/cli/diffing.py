"""``lichen diff``: what differs, as tables for a terminal, as JSON, or as Markdown for a pull request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from builder.cli import session
from builder.cli.arguments import complete_profile
from builder.cli.output import emit_json, say, table, tell
from builder.cli.text import size
from builder.data.comparison import Changed, Comparison, Moved, News, Resized, Side
from builder.foundation.errors import InputError, Problem

if TYPE_CHECKING:
    from builder.cli.session import Session

CVES = 8  # named for one changelog; of more their number is told
OWNERS = 20  # whose sizes are told; --json tells all
_THING = "A lock, a manifest.json, an image folder, a profile, or REVISION:PATH of a file in git."
Row = tuple[str, ...]
# What a comparison's sections are called, and the headers of their tables.
MOVED: tuple[tuple[str, str], ...] = (("deb", "packages"), ("wheel", "wheels"), ("tool", "tools"))
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


def diff(
    context: typer.Context,
    old: Annotated[str, typer.Argument(metavar="A", help=_THING, autocompletion=complete_profile)],
    new: Annotated[str, typer.Argument(metavar="B", help="What to compare it with.", autocompletion=complete_profile)],
    markdown: Annotated[bool, typer.Option("--markdown", help="Print it for a pull request.")] = False,
) -> None:
    """Tell what differs between two locks, manifests or images: packages, services, ports, sizes and more."""
    from builder.verbs import diff as verb

    run: Session = session.of(context)
    if markdown and run.json:
        raise InputError(Problem("--markdown and --json exclude one another", "lichen diff", "", "give one of them"))
    with run.workbench("diff") as bench:
        comparison = verb.diff(bench, old, new)
    if run.json:
        emit_json({**comparison.model_dump(mode="json"), "same": comparison.same})
    elif markdown:
        from builder.cli.pullrequest import markdown as page

        say(page(comparison))
    else:
        _print(comparison)


def _print(comparison: Comparison) -> None:
    table(SIDES, side_rows(comparison))
    for what, title in MOVED:
        _section(title, MOVE, moved_rows(comparison.moved, what))
    for field, title in CHANGED:
        _section(title, CHANGE, changed_rows(getattr(comparison, field)))
    _section("size by owner", SIZES, size_rows(comparison.sizes[:OWNERS]))
    if len(comparison.sizes) > OWNERS:
        say(f"and {len(comparison.sizes) - OWNERS} more")
    _section("large files that are there twice now", DUPLICATES, duplicate_rows(comparison))
    if comparison.news:
        say("\nchangelogs")
    for told in comparison.news:
        say("\n".join((f"\n{news_title(told)}", *news_lines(told))))
    if comparison.same:
        say("no difference")
    for note in comparison.notes:
        tell(f"{note.what} ({note.where}): {note.why}")


def _section(title: str, headers: Sequence[str], rows: Sequence[Row]) -> None:
    if rows:
        say(f"\n{title}")
        table(headers, rows)


def side_rows(comparison: Comparison) -> list[Row]:
    """Both sides, one row each."""
    return [_side_row("old", comparison.old), _side_row("new", comparison.new)]


def _side_row(word: str, side: Side) -> Row:
    packages, wheels = f"{side.packages}, {size(side.package_bytes)}", f"{side.wheels}, {size(side.wheel_bytes)}"
    files = "" if side.file_bytes is None else size(side.file_bytes)
    return word, side.given, side.profile, side.architecture, side.lock[:12], packages, wheels, files


def moved_rows(moved: Sequence[Moved], what: str) -> list[Row]:
    """Packages, wheels or tools."""
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
