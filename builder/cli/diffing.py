"""``lichen diff``: what differs, as tables for a terminal, as JSON, or as Markdown for a pull request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from builder.cli import rows, session
from builder.cli.arguments import complete_profile
from builder.cli.output import emit_json, say, table, tell
from builder.data.comparison import Comparison
from builder.foundation.errors import InputError, Problem

if TYPE_CHECKING:
    from builder.cli.session import Session

OWNERS = 20  # whose sizes are told; --json tells all
_THING = "A lock, a manifest.json, an image folder, a profile, or REVISION:PATH of a file in git."


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
    table(rows.SIDES, rows.side_rows(comparison))
    for what, title in rows.MOVED:
        _section(title, rows.MOVE, rows.moved_rows(comparison.moved, what))
    for field, title in rows.CHANGED:
        _section(title, rows.CHANGE, rows.changed_rows(getattr(comparison, field)))
    _section("size by owner", rows.SIZES, rows.size_rows(comparison.sizes[:OWNERS]))
    if len(comparison.sizes) > OWNERS:
        say(f"and {len(comparison.sizes) - OWNERS} more")
    _section("large files that are there twice now", rows.DUPLICATES, rows.duplicate_rows(comparison))
    if comparison.news:
        say("\nchangelogs")
    for told in comparison.news:
        say("\n".join((f"\n{rows.news_title(told)}", *rows.news_lines(told))))
    if comparison.same:
        say("no difference")
    for note in comparison.notes:
        tell(f"{note.what} ({note.where}): {note.why}")


def _section(title: str, headers: Sequence[str], lines: Sequence[rows.Row]) -> None:
    if lines:
        say(f"\n{title}")
        table(headers, lines)
