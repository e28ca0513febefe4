"""The command ``report``."""

from __future__ import annotations

import typer

from builder.cli import session
from builder.cli.arguments import ArchitectureName, ProfileName
from builder.cli.output import emit_json, say


def report(context: typer.Context, profile: ProfileName, architecture: ArchitectureName = None) -> None:
    """Write one HTML page beside the image: contents, sizes, boot, tests, reproducibility, bill of materials."""
    from builder.verbs.build import find_image
    from builder.verbs.report import write_report

    run = session.of(context)
    with run.workbench("report") as bench:
        path = write_report(find_image(bench, profile, architecture))
    if run.json:
        emit_json({"report": str(path)})
    else:
        say(str(path))
