"""The command ``clean``."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from builder.cli import session
from builder.cli.output import emit_json, say, table, tell
from builder.cli.text import size
from builder.data.model import size_in_bytes
from builder.foundation.errors import InputError, Problem

if TYPE_CHECKING:
    from builder.cli.session import Session
    from builder.verbs.clean import Holding

_AGE = re.compile(r"([1-9][0-9]{0,5})([hdw])")
_HOURS = {"h": 1, "d": 24, "w": 168}


def clean(
    context: typer.Context,
    *,
    unused: Annotated[bool, typer.Option("--unused", help="Remove what no lock of this project needs.")] = False,
    older_than: Annotated[
        str | None, typer.Option(metavar="AGE", help="Remove of that what was not used for so long, as in 30d.")
    ] = None,
    max_size: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Remove of that, oldest use first, until the cache is no larger: 20G."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Remove all of it; images in out/ stay.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be removed.")] = False,
) -> None:
    """Show what the cache holds; with an option, remove from it. All of it can be made again."""
    limited = older_than is not None or max_size is not None
    if unused + limited + everything > 1:
        what = "--unused, --all, and --older-than or --max-size exclude one another"
        raise InputError(Problem(what, "lichen clean", "", "give one of them; --older-than and --max-size go together"))
    removing = unused or limited or everything
    if dry_run and not removing:
        remedy = "add the option that would remove, or leave out --dry-run: `lichen clean` alone removes nothing"
        raise InputError(Problem("--dry-run without an option that removes", "lichen clean", "", remedy))
    age = _age(older_than) if older_than is not None else None
    most = _size(max_size) if max_size is not None else None
    run = session.of(context)
    if removing:
        _clean(run, everything=everything, older_than=age, max_size=most, dry_run=dry_run)
    else:
        _show(run)


def _show(run: Session) -> None:
    from builder.verbs.clean import examine_cache

    with run.workbench("clean") as bench:
        found = examine_cache(bench)
    if run.json:
        emit_json({"cache": str(bench.cache.root), "holds": [item.as_dict() for item in found]})
        return
    _table(found)
    say(f"{size(sum(item.size for item in found))} in {bench.cache.root}")
    tell("`lichen clean --unused` removes what no lock of this project needs, --older-than AGE and --max-size SIZE")
    tell("only the older part of it; `lichen clean --all` removes everything")


def _clean(
    run: Session, *, everything: bool, older_than: timedelta | None, max_size: int | None, dry_run: bool
) -> None:
    from builder.verbs import clean as verb

    with run.workbench("clean") as bench:
        scope: verb.Scope = "all" if everything else "unused"
        done = verb.clean(bench, scope, older_than=older_than, max_size=max_size, dry_run=dry_run)
    if run.json:
        key = "would_remove" if dry_run else "removed"
        told = {"cache": str(bench.cache.root), key: [item.as_dict() for item in done.removed]}
        emit_json({**told, "left": done.left, "over": done.over})
        return
    if dry_run:
        _table(done.removed)
    went = size(sum(item.size for item in done.removed))
    word = "would remove" if dry_run else "removed"
    say(f"{word} {len(done.removed)} items, {went}, from {bench.cache.root}; {size(done.left)} stay")
    if done.over and max_size is not None:
        tell(f"what locks and plans need takes {size(done.left)}, more than {size(max_size)}: nothing else can go")


def _table(holdings: tuple[Holding, ...]) -> None:
    from builder.verbs.clean import summary

    rows = [
        (
            kind,
            str(total.items),
            size(total.size),
            str(total.unneeded),
            size(total.unneeded_size),
            total.oldest.strftime("%Y-%m-%d") if total.oldest else "",
        )
        for kind, total in summary(holdings).items()
    ]
    table(("kind", "items", "size", "not needed", "size", "oldest use"), rows)


def _age(text: str) -> timedelta:
    match = _AGE.fullmatch(text)
    if not match:
        why, remedy = "not an age", "write a whole number and h, d or w (hours, days, weeks), as in --older-than 30d"
        raise InputError(Problem("--older-than does not fit", f"--older-than {text}", why, remedy))
    return timedelta(hours=int(match[1]) * _HOURS[match[2]])


def _size(text: str) -> int:
    try:
        return size_in_bytes(text)
    except ValueError as error:
        why, _, remedy = str(error).partition(": ")
        raise InputError(Problem("--max-size does not fit", f"--max-size {text}", why, remedy)) from error
