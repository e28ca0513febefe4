"""The command ``fetch``: the store filled from mirrors, to a bundle, from a bundle."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from builder.cli import session
from builder.cli.arguments import ArchitectureName, OptionalProfileName
from builder.cli.output import emit_json, say, tell
from builder.cli.text import size
from builder.foundation.errors import InputError, Problem

if TYPE_CHECKING:
    from builder.cli.session import Session
    from builder.verbs.fetch import Fetched, Imported


def fetch(
    context: typer.Context,
    *,
    profile: OptionalProfileName = None,
    architecture: ArchitectureName = None,
    export: Annotated[
        Path | None, typer.Option("--export", metavar="FILE", help="Write the lock and all its files to one file too.")
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option("--import", metavar="FILE", help="Take the files from one that --export wrote.")
    ] = None,
) -> None:
    """Bring every file that a lock names to this machine, so that building needs no network."""
    run = session.of(context)
    if bundle is not None:
        if profile or architecture or export:
            why = "the file itself says of which profile and architecture it is"
            raise InputError(Problem("--import stands alone", "lichen fetch", why, "leave out the rest"))
        _import(run, bundle.absolute())
        return
    if profile is None:
        raise InputError(Problem("no profile given", "lichen fetch", "", "name one, or a file to --import"))
    _fetch(run, profile, architecture, export.absolute() if export else None)


def _fetch(run: Session, profile: str, architecture: str | None, export: Path | None) -> None:
    from builder.verbs.fetch import fetch_profile

    with run.workbench("fetch") as bench:
        fetched = fetch_profile(bench, profile, architecture, export=export)
    if run.json:
        emit_json(fetched.as_dict())
        return
    _say(fetched, "fetched")
    if export:
        say(f"all of it is in {export}, {size(export.stat().st_size)}")
        tell(f"on the other machine, in the same project: lichen fetch --import {export.name}")


def _import(run: Session, bundle: Path) -> None:
    from builder.verbs.fetch import import_bundle

    with run.workbench("fetch") as bench:
        imported = import_bundle(bench, bundle)
    if run.json:
        emit_json(imported.as_dict())
        return
    _say(imported.fetched, "imported")
    _tell_state(imported)


def _say(fetched: Fetched, done: str) -> None:
    lock = fetched.lock
    here = fetched.files - fetched.brought
    say(
        f"{lock.profile} {lock.architecture}: {fetched.files} files, {size(fetched.size)}; "
        f"{fetched.brought} {done} ({size(fetched.brought_size)}), {here} already there"
    )


def _tell_state(imported: Imported) -> None:
    lock = imported.fetched.lock
    if imported.state == "same":
        tell(f"it is all that building {lock.profile} needs: {imported.path} is the same lock")
        return
    has = "is another lock, and may name other files" if imported.state == "other" else "does not exist"
    tell(f"{imported.path} {has}")
    tell(f"the lock that these files belong to: tar -xOf {shlex.quote(str(imported.fetched.bundle))} lock.json")
