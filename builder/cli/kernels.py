"""The commands ``kernel config`` and ``kernel diff``."""

from __future__ import annotations

from typing import Annotated

import typer

from builder.cli import session
from builder.cli.arguments import ArchitectureName, ProfileName, complete_profile
from builder.cli.output import emit_json, say, table, tell

app = typer.Typer(help="The project's own kernels: configurations and packages.", no_args_is_help=True)
_THING = "A profile, PROFILE.ARCHITECTURE, or a file with a kernel's configuration."


@app.command()
def config(
    context: typer.Context,
    profile: ProfileName,
    architecture: ArchitectureName = None,
    asked: Annotated[bool, typer.Option("--asked", help="Only what fragments ask for.")] = False,
) -> None:
    """Show the final configuration of a profile's kernel, and what which fragment asked for."""
    from builder.verbs.kernel import kernel_config

    run = session.of(context)
    with run.workbench("kernel config") as bench:
        found = kernel_config(bench, profile, architecture)
    shown = [item for item in found if item.place or not asked]
    if run.json:
        emit_json([item.as_dict() for item in shown])
        return
    # As much of the place as tells: the fragment's file and line.
    rows = [(item.name, item.value, item.wanted, item.place.rpartition("/")[2]) for item in shown]
    table(("symbol", "value", "asked", "by"), rows)


@app.command()
def build(context: typer.Context, profile: ProfileName, architecture: ArchitectureName = None) -> None:
    """Build the packages of a profile's own kernel and drivers, or find them kept; an image's build does so itself."""
    from builder.verbs.kernel import kernel_packages

    run = session.of(context)
    with run.workbench("kernel build") as bench:
        folder = kernel_packages(bench, profile, architecture)
    if run.json:
        emit_json({"folder": str(folder), "packages": sorted(str(path) for path in folder.rglob("*.deb"))})
    else:
        say(str(folder))


@app.command()
def diff(
    context: typer.Context,
    old: Annotated[str, typer.Argument(metavar="A", help=_THING, autocompletion=complete_profile)],
    new: Annotated[str, typer.Argument(metavar="B", help="What to compare it with.", autocompletion=complete_profile)],
) -> None:
    """Tell which symbols differ between two final configurations."""
    from builder.verbs.kernel import kernel_diff

    run = session.of(context)
    with run.workbench("kernel diff") as bench:
        found = kernel_diff(bench, old, new)
    if run.json:
        emit_json([{"symbol": name, "old": one, "new": other} for name, (one, other) in found.items()])
        return
    table(("symbol", "A", "B"), [(name, one, other) for name, (one, other) in found.items()])
    if not found:
        tell("no symbol differs")
