"""The commands: each parses, calls one verb and prints what came back.

Verbs are imported when their command runs, so that ``lichen list`` does not wait for what ``lichen build`` needs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from builder import __version__
from builder.cli import (
    building,
    cleaning,
    diffing,
    exporting,
    fetching,
    guests,
    inspecting,
    kernels,
    keys,
    reporting,
    session,
    signing,
    verifying,
)
from builder.cli.arguments import (
    ArchitectureName,
    ModuleKey,
    OptionalProfileName,
    ProfileName,
    SchemaKind,
    SecureBootKey,
    SnapshotService,
)
from builder.cli.output import emit_json, say, table, tell
from builder.cli.session import Session
from builder.foundation.errors import EXIT_FAILED, InputError, Problem

app = typer.Typer(
    name="lichen",
    help="Reproducible AI Linux images from a short YAML profile.",
    epilog="Global options may stand before or behind the command. Exit codes: 0 done, 1 failed, 2 bad input, "
    "3 not reproducible or a test failed, 130 interrupted.",
    context_settings={"help_option_names": ["-h", "--help"]},
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    add_completion=True,
)


@app.callback()
def lichen(
    context: typer.Context,
    *,
    project: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The project; else the one that the current folder lies in.")
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where downloads and built parts are kept.", envvar="LICHEN_CACHE"),
    ] = None,
    mirror: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ARCHIVE=URL",
            help="A mirror to use, as in debian=URL; may be repeated. Else those of this machine's apt.",
            envvar="LICHEN_MIRRORS",
        ),
    ] = None,
    index: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=]URL", help="A package index, or that of a repository; repeatable. Else pip's."),
    ] = None,
    snapshot: SnapshotService = "",
    module_key: ModuleKey = None,
    secure_boot_key: SecureBootKey = None,
    json: Annotated[bool, typer.Option("--json", help="Print results and errors as JSON.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Tell more while working and when failing.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False,
) -> None:
    """Reproducible AI Linux images from a short YAML profile."""
    context.obj = Session(
        project,
        cache,
        tuple(mirror or ()),
        tuple(index or ()),
        snapshot,
        module_key,
        secure_boot_key,
        json=json,
        verbose=verbose,
    )
    if version:
        emit_json({"version": __version__}) if json else say(f"lichen {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        if json:
            raise InputError(Problem("no command given", "lichen", "", "run `lichen --help`, which lists them"))
        context.get_help()


@app.command("list")
def list_(context: typer.Context) -> None:
    """List the profiles and whether they are locked."""
    from builder.verbs.listing import list_profiles

    run = session.of(context)
    with run.workbench("list") as bench:
        profiles = list_profiles(bench)
    if run.json:
        emit_json([item.as_dict() for item in profiles])
        return
    rows = []
    for item in profiles:
        locks = ", ".join(f"{architecture} {state}" for architecture, state in item.locks)
        told = item.description
        if item.problems:
            locks, told = "broken", f"`lichen show {item.name}` tells what is wrong"
        rows.append((item.name, "a parent only" if item.abstract else locks, told))
    table(("profile", "lock", "description"), rows)
    if not profiles:
        tell("no profile yet; docs/profiles.md tells how to write one")


@app.command()
def show(
    context: typer.Context,
    profile: ProfileName,
    explain: Annotated[bool, typer.Option("--explain", help="Tell which file and line each value came from.")] = False,
) -> None:
    """Show a profile with its parents merged and its options settled."""
    from builder.cli.shown import print_shown
    from builder.verbs import show as verb

    run = session.of(context)
    with run.workbench("show") as bench:
        shown = verb.show(bench, profile)
    if run.json:
        emit_json(shown.as_dict())
    else:
        print_shown(shown, explain=explain)


@app.command()
def lock(
    context: typer.Context,
    *,
    profile: OptionalProfileName = None,
    architecture: ArchitectureName = None,
    every: Annotated[bool, typer.Option("--all", help="Every profile that is built, for each architecture.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Change nothing; fail when a lock is stale.")] = False,
    upgrade: Annotated[bool, typer.Option("--upgrade", help="Choose the newest versions anew.")] = False,
    accept_expired: Annotated[
        list[str] | None, typer.Option(metavar="SUITE", help="Use this suite's index although it has expired.")
    ] = None,
    without: Annotated[list[str] | None, typer.Option(metavar="SUITE", help="Do without this suite.")] = None,
) -> None:
    """Choose versions and write them to profiles/locks/; the only command that does."""
    from builder.cli import locking

    if check and (upgrade or accept_expired or without):
        raise InputError(Problem("--check changes nothing", "lichen lock", "it was given with an option that does"))
    if (profile is None) != every:
        raise InputError(Problem("name one profile, or --all of them", "lichen lock", "", "run `lichen lock --help`"))
    run = session.of(context)
    with run.workbench("lock") as bench:
        wanted = locking.wanted(bench, profile, architecture)
        if check:
            locking.check_all(run, bench, wanted)
        else:
            expired, left_out = frozenset(accept_expired or ()), frozenset(without or ())
            locking.lock_all(run, bench, wanted, upgrade=upgrade, accept_expired=expired, without=left_out)


@app.command()
def plan(context: typer.Context, profile: ProfileName, architecture: ArchitectureName = None) -> None:
    """Tell what a build would make anew, why, and how long that took before. Changes nothing."""
    from builder.cli.planning import print_plan
    from builder.verbs.plan import make_plan

    run = session.of(context)
    with run.workbench("plan") as bench:
        made = make_plan(bench, profile, architecture)
    if run.json:
        emit_json(made.as_dict())
    else:
        print_plan(made)


@app.command()
def render(
    context: typer.Context,
    profile: ProfileName,
    destination: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where the tree goes; an earlier rendered tree is replaced.")
    ],
    architecture: ArchitectureName = None,
    packages: Annotated[
        bool, typer.Option("--packages", help="Export the locked packages and wheels too, so that mkosi can build.")
    ] = False,
) -> None:
    """Write the mkosi tree of a profile, which plain mkosi accepts."""
    from builder.verbs import render as verb

    run = session.of(context)
    with run.workbench("render") as bench:
        folder = verb.render(bench, profile, architecture, destination=destination.absolute(), packages=packages)
    if run.json:
        emit_json({"folder": str(folder)})
    else:
        say(str(folder))


app.command()(building.build)
app.command()(fetching.fetch)
app.command()(guests.boot)
app.command()(exporting.export)
app.command()(signing.sign)
app.command()(inspecting.inspect)
app.command()(reporting.report)
app.command("test")(guests.run_tests)
app.command()(diffing.diff)
app.add_typer(kernels.app, name="kernel")
app.add_typer(keys.app, name="keys")
app.command()(verifying.verify)
app.command()(cleaning.clean)


@app.command()
def doctor(context: typer.Context) -> None:
    """Look at what building and booting need from this machine, and tell how to mend what is missing."""
    from builder.cli import health
    from builder.verbs.doctor import examine

    run = session.of(context)
    with run.workbench("doctor") as bench:
        findings = examine(health.host(bench))
    if run.json:
        emit_json([item.as_dict() for item in findings])
    else:
        table(("", "what", "found", "remedy"), health.rows(findings))
    if any(item.ok is False for item in findings):
        raise typer.Exit(EXIT_FAILED)


@app.command()
def schema(
    context: typer.Context,
    kind: Annotated[
        SchemaKind | None, typer.Argument(metavar="KIND", help="Which schema to print: profile or overlay.")
    ] = None,
    write: Annotated[bool, typer.Option("--write", help="Refresh both schema files in profiles/.")] = False,
) -> None:
    """Print the JSON schema of profiles or overlays, or write both for editors."""
    from builder.verbs import schema as verb

    run = session.of(context)
    if (kind is None) != write:
        remedy = "run `lichen schema profile`, `lichen schema overlay` or `lichen schema --write`"
        raise InputError(Problem("name one kind, or --write for both", "lichen schema", "", remedy))
    if kind:
        emit_json(verb.schema(kind))
        return
    with run.workbench("schema") as bench:
        changed = [str(path) for path in verb.write_schemas(bench)]
    if run.json:
        emit_json({"changed": changed})
    else:
        say("\n".join(changed) or "both schemas are current")
