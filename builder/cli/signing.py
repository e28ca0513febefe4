"""The command ``sign``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from builder.cli import session
from builder.cli.arguments import ArchitectureName, ProfileName
from builder.cli.output import emit_json, say, tell
from builder.data.manifest import SIGNATURE, SUMS

KeyFile = Annotated[
    Path,
    typer.Option(
        "--key", metavar="FILE", help="Private Ed25519 key in PEM form: openssl genpkey -algorithm ed25519 -out FILE"
    ),
]


def sign(context: typer.Context, *, profile: ProfileName, architecture: ArchitectureName = None, key: KeyFile) -> None:
    """Sign the image of a profile: its checksums, and its provenance."""
    from builder.verbs import sign as verb

    run = session.of(context)
    with run.workbench("sign") as bench:
        signed = verb.sign(bench, profile, architecture, key=key.absolute())
    if run.json:
        emit_json({"folder": str(signed.folder), "key_id": signed.key_id})
        return
    say(str(signed.folder))
    tell(f"signed with the key {signed.key_id}")
    tell("publish the public one: openssl pkey -in KEY.pem -pubout -out PUB.pem; anybody checks with")
    tell("  lichen inspect FOLDER --key PUB.pem, or in FOLDER without Lichen")
    tell(f"  openssl pkeyutl -verify -pubin -inkey PUB.pem -rawin -in {SUMS} -sigfile {SIGNATURE}")
    tell(f"  sha256sum --check {SUMS}")
