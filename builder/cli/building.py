"""``lichen build``: what may be asked for together, and how finished images read."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from builder.cli import session
from builder.cli.arguments import ArchitectureName, ProfileNames
from builder.cli.output import emit_json, say, tell
from builder.cli.text import duration
from builder.foundation.errors import InputError, Problem

if TYPE_CHECKING:
    from builder.verbs.build import BuiltImage


def build(
    context: typer.Context,
    profiles: ProfileNames = None,
    architecture: ArchitectureName = None,
    every: Annotated[bool, typer.Option("--all", help="Every profile that is built, for each architecture.")] = False,
) -> None:
    """Build the images of profiles from their locks, side by side; fetches what the store has not yet."""
    from builder.verbs import build as verb

    names = profiles or []
    _require_sense(names, architecture, every=every)
    run = session.of(context)
    begin = time.monotonic()
    with run.workbench("build") as bench:
        if every:
            built = verb.build_all(bench)
        elif len(names) > 1:
            built = verb.build_all(bench, [(name, None) for name in names])
        else:
            built = [verb.build(bench, names[0], architecture)]
    several = every or len(names) > 1
    if run.json:
        told = [_as_dict(image) for image in built]
        emit_json(told if several else told[0])
        return
    tell(_outcome(built, time.monotonic() - begin, several=several))
    for image in built:
        say(str(image.folder))
    if not several:
        chosen = f" --architecture {architecture}" if architecture else ""
        tell(f"boot it with: lichen boot {names[0]}{chosen}")


def _require_sense(names: Sequence[str], architecture: str | None, *, every: bool) -> None:
    place, remedy = "lichen build", "run `lichen build --help`"
    if every == bool(names):
        why = "--all names every profile already" if every else ""
        raise InputError(Problem("name one profile or several, or --all of them", place, why, remedy))
    if architecture and (every or len(names) > 1):
        why = "several profiles are built for what each one names: --all for all of its architectures, else its first"
        raise InputError(Problem("--architecture goes with one profile", place, why, remedy))


def _outcome(built: Sequence[BuiltImage], seconds: float, *, several: bool) -> str:
    made = sum(image.rebuilt for image in built)
    if not several:
        return f"built in {duration(seconds)}" if made else "nothing changed, the image is the one built before"
    if not built:
        return "no profile to build yet; docs/profiles.md tells how to write one"
    if not made:
        return "nothing changed, the images are those built before"
    unchanged = f", {len(built) - made} unchanged" if made < len(built) else ""
    return f"built {made} of {len(built)} images in {duration(seconds)}{unchanged}"


def _as_dict(image: BuiltImage) -> dict[str, Any]:
    told = {"folder": str(image.folder), "rebuilt": image.rebuilt, "seconds": image.seconds}
    return {**told, "image": image.manifest.image, "lock": image.manifest.lock}
