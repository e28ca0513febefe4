"""The command ``keys new``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from builder.cli import session
from builder.cli.output import emit_json, say, table, tell

app = typer.Typer(help="Keys that images are signed with.", no_args_is_help=True)


@app.callback()
def keys() -> None:
    """Keys that images are signed with."""


@app.command()
def new(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the keys go: new, outside of any project.")],
) -> None:
    """Make a set of keys: for Secure Boot, for kernel modules, for checksums and provenance."""
    from builder.verbs.keys import new_keys

    run = session.of(context)
    made = new_keys(folder.absolute(), run.cache(), datetime.now(UTC))
    if run.json:
        emit_json({"folder": str(made.folder), "files": dict(made.uses)})
        return
    say(str(made.folder))
    table(("file", "use"), made.uses.items())
    tell("nobody can make these again: keep a copy of the .key files where only you can read them")
