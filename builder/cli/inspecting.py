"""The command ``inspect``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from builder.cli import session
from builder.cli.arguments import ArchitectureName, complete_profile
from builder.cli.output import emit_json, table, tell_problems
from builder.cli.text import size
from builder.foundation.errors import EXIT_FAILED

if TYPE_CHECKING:
    from builder.cli.session import Session
    from builder.verbs.inspect import Inspection

ImageName = Annotated[
    str,
    typer.Argument(
        metavar="FOLDER|PROFILE",
        help="An image folder, wherever it came from; or a profile, for the image of its lock.",
        autocompletion=complete_profile,
    ),
]
PublicKey = Annotated[
    Path | None, typer.Option("--key", metavar="FILE", help="Public key in PEM form that must have signed the image.")
]


def inspect(
    context: typer.Context, *, image: ImageName, architecture: ArchitectureName = None, key: PublicKey = None
) -> None:
    """Check an image folder against its checksums, papers and signatures, and tell what is inside."""
    from builder.verbs.inspect import inspect_image

    run = session.of(context)
    found = inspect_image(_folder(run, image, architecture), key)
    if run.json:
        emit_json(found.as_dict())
    else:
        table(("what", "found"), _rows(found))
        if found.problems:
            tell_problems(found.problems)
    if found.problems:
        raise typer.Exit(EXIT_FAILED)


def _folder(run: Session, image: str, architecture: str | None) -> Path:
    if Path(image).is_dir() or "/" in image:
        return Path(image).absolute()
    from builder.verbs.build import find_image

    with run.workbench("inspect") as bench:
        return find_image(bench, image, architecture)


def _rows(found: Inspection) -> Iterator[tuple[str, str]]:
    yield "folder", str(found.folder)
    if manifest := found.manifest:
        dated = datetime.fromtimestamp(manifest.source_date_epoch, UTC)
        yield "profile", f"{manifest.profile} for {manifest.architecture}"
        yield "lock", f"{manifest.lock}, packages of {dated:%Y-%m-%d}"
        yield "kernel", manifest.kernel
        yield "overlays", ", ".join(manifest.overlays)
        yield "packages", str(len(manifest.packages))
        yield "wheels", str(len(manifest.wheels))
        yield "files", f"{found.files}, {size(found.size)}"
        yield "licences", f"{found.licences} different; of {found.unlicensed} packages none that a program can read"
    yield "integrity", "something is wrong" if found.folder_problems else "every file is as its checksum says"
    yield "signed", _signed(found)
    if secure := found.secure_boot:
        by = f"{secure.name}, certificate {secure.certificate}"
        yield "Secure Boot", f"not signed for {by}: {secure.refused}" if secure.refused else f"signed by {by}"


def _signed(found: Inspection) -> str:
    signature = found.signature
    return {
        "unsigned": "no",
        "good": f"by the key given, {signature.key_id}",
        "bad": "not as it should be",
        "untrusted": f"unchecked: by {signature.key_id}, as it says; give --key to check",
    }[signature.state]
