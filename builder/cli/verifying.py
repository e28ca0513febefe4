"""The command ``verify``: whether the lock gives the same bytes elsewhere."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Annotated

import typer

from builder.cli import session
from builder.cli.arguments import ArchitectureName, ProfileName
from builder.cli.output import emit_json, say, table, tell
from builder.cli.text import duration
from builder.foundation.errors import EXIT_NOT_REPRODUCIBLE, InputError, Problem

if TYPE_CHECKING:
    from builder.data.verification import Difference, Rebuild
    from builder.verbs.verify import Verdict

_SEEDS = 1 << 32
# So many differences are told on the terminal, the file has all of them.
_TOLD = 40
# What the same digest means where signatures were left out.
_BASES = {
    "unsigned": "the same bytes without signatures",
    "listing": "the same files one by one; bytes around longer, signed files cannot be the same",
}


def verify(
    context: typer.Context,
    *,
    profile: ProfileName,
    architecture: ArchitectureName = None,
    number: Annotated[
        int | None,
        typer.Option("--variations", metavar="N", min=1, max=1000, help="Build on so many hosts; else on one."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="S", min=0, help="Chooses the hosts; a random one when left out.")
    ] = None,
    kernel: Annotated[bool, typer.Option("--kernel", help="Only the packages of the profile's own kernel.")] = False,
    against: Annotated[
        str | None, typer.Option(metavar="PLACE", help="Compare with a published image: a folder or URL.")
    ] = None,
) -> None:
    """Build the image again, cold and on a host that differs in all that must not matter, and compare every byte."""
    from builder.verbs import verify as verb

    if against is not None and (number is not None or seed is not None or kernel):
        why = "a published image is compared with the one that this project builds"
        raise InputError(Problem("--against builds on no other hosts", "lichen verify", why, "leave out the others"))
    run = session.of(context)
    chosen = secrets.randbelow(_SEEDS) if seed is None else seed
    if against is None:
        tell(f"seed {chosen}")
    with run.workbench("verify") as bench:
        if against is not None:
            found = verb.verify_against(bench, against, profile, architecture)
        else:
            work = verb.verify_kernel if kernel else verb.verify
            found = work(bench, profile, architecture, number=number or 1, seed=chosen)
    if run.json:
        kept = None if found.kept is None else str(found.kept)
        document = {**found.verification.model_dump(mode="json"), "identical": found.verification.identical}
        emit_json({**document, "image": str(found.image), "record": str(found.record), "kept": kept})
    else:
        _print(found)
    if not found.verification.identical:
        raise typer.Exit(EXIT_NOT_REPRODUCIBLE)


def _print(found: Verdict) -> None:
    rebuilds = found.verification.rebuilds
    table(
        ("build", "result", "time", "conditions"),
        [(str(item.number), _result(item), duration(item.seconds), _conditions(item)) for item in rebuilds],
    )
    for item in rebuilds:
        for difference in item.differences[:_TOLD]:
            _print_difference(item, difference)
        if (rest := len(item.differences) - _TOLD) > 0:
            say(f"build {item.number}: {rest} more differences are in {found.record}")
        for compared in item.compared:
            if compared.identical and compared.basis != "bytes":
                say(f"{compared.name}: {_BASES[compared.basis]}")
    _explain({difference.cause for item in rebuilds for difference in item.differences if difference.cause})
    same = sum(item.identical for item in rebuilds)
    say(f"{same} of {len(rebuilds)} identical with {found.image}")
    if found.kept is not None:
        tell(f"the first that differs is kept in {found.kept}")
    tell(f"all of it is in {found.record}")


def _explain(causes: set[str]) -> None:
    from builder.steps.compare import explain

    for name in sorted(causes):
        cause = explain(name)
        say(f"\n{name}: {cause.explanation}\n    {cause.remedy}")


def _result(rebuild: Rebuild) -> str:
    differing = [item.name for item in rebuild.compared if not item.identical]
    return "identical" if not differing else f"{len(differing)} of {len(rebuild.compared)} differ"


def _conditions(rebuild: Rebuild) -> str:
    return "; ".join(f"{name}: {text}" for name, text in rebuild.conditions.items()) or "as usual"


def _print_difference(rebuild: Rebuild, difference: Difference) -> None:
    place = ": ".join(part for part in (difference.artefact, difference.part, difference.path) if part)
    cause = f" (known cause: {difference.cause})" if difference.cause else ""
    say(f"\nbuild {rebuild.number}: {place}: {difference.what}{cause}")
    for line in difference.evidence.splitlines():
        say(f"    {line}")
