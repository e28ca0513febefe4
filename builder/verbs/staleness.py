"""Why a component must be built: what moved since the profile had it last, in words and as data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from builder.data.history import Past, Target, last_inputs
from builder.data.layout import HOSTNAME, PRESET, overlay_targets
from builder.data.plan import Component, MovedInput, moved_inputs
from builder.data.recipe import Recipe

# Where the image's configuration holds the files that are laid into it.
_EXTRA = "extra/"
# Inputs whose names say too little.
_TITLES = {"assembly": "Lichen's way of building", "documents": "Lichen's documents beside the image"}


def why_stale(
    component: Component, history: Sequence[Past], recipe: Recipe, target: Target
) -> tuple[tuple[MovedInput, ...], tuple[str, ...]]:
    """The inputs that moved since ``target`` had the component last, and the reasons in words; never without reason."""
    before = last_inputs(history, target)
    if before is None:
        return (), (f"never built here for {target.profile} {target.architecture}" if history else "never built here",)
    moved = moved_inputs(before, component.inputs)
    if not moved:
        return (), ("built before, no longer there",)
    titles = {**_TITLES, **dict(_files(recipe))} if component.name == "image" else _TITLES
    return moved, tuple(item.text(titles.get(item.input, _title(item.input))) for item in moved)


def _title(name: str) -> str:
    return f"/{name.removeprefix(_EXTRA)}" if name.startswith(_EXTRA) else name


def _files(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Each file that is laid into the image: name of the input, and its title: place, and what a person would edit."""
    for item in recipe.overlays:
        for target, path in overlay_targets(item):
            yield f"{_EXTRA}{target}", f"/{target} ({path.relative_to(item.folder.parents[1])})"
    for name, model in recipe.profile.models.items():
        yield f"{_EXTRA}{model.target[1:]}", f"{model.target} (models.{name})"
    yield f"{_EXTRA}{PRESET}", f"/{PRESET} (services of the overlays)"
    yield f"{_EXTRA}{HOSTNAME}", f"/{HOSTNAME} (image.hostname)"
