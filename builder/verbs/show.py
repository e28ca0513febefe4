"""One profile as it is understood: parents merged, options settled, and where every value came from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from builder.data.recipe import Recipe
from builder.data.yamlfile import KeyPath, dotted
from builder.foundation.workbench import Workbench
from builder.steps.profiles import load_recipe

DEFAULT = "default"


@dataclass(frozen=True)
class ShownOption:
    """An option that an overlay of the profile declares.

    Attributes:
        origin: ``FILE:LINE`` of the profile that set it, or ``default``.
    """

    overlay: str
    name: str
    type: str
    value: Any
    default: Any
    description: str
    origin: str


@dataclass(frozen=True)
class Explained:
    """One value or list item of the merged profile and where it came from (``FILE:LINE``, or ``default``)."""

    key: str
    value: Any
    origin: str


@dataclass(frozen=True)
class Shown:
    """A merged profile, told to a person.

    Attributes:
        profile: every key of the profile with its merged value, options apart.
        explained: the same, one entry for each value and list item.
        packages: Debian packages that the profile and its overlays name.
        requirements: Python requirements that its overlays name.
    """

    name: str
    profile: dict[str, Any]
    options: tuple[ShownOption, ...]
    explained: tuple[Explained, ...]
    packages: tuple[str, ...]
    requirements: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "name": self.name,
            "profile": self.profile,
            "options": [vars(option) for option in self.options],
            "explained": [vars(item) for item in self.explained],
            "packages": list(self.packages),
            "requirements": list(self.requirements),
        }


def show(workbench: Workbench, name: str) -> Shown:
    """Profile ``name``, which may be a parent only.

    Raises:
        InputError: everything that is wrong with it.
    """
    recipe = load_recipe(workbench.project, name)
    prefix = f"{workbench.project.root}/"
    origins = {key: origin.removeprefix(prefix) for key, origin in recipe.origins.items()}
    profile = recipe.profile.model_dump(mode="json", exclude={"options"})
    return Shown(
        name,
        profile,
        tuple(_options(recipe, origins)),
        tuple(_explained(profile, (), origins)),
        tuple(sorted({name for known in recipe.profile.architectures for name in recipe.packages(known)})),
        recipe.requirements,
    )


def _options(recipe: Recipe, origins: dict[KeyPath, str]) -> Iterator[ShownOption]:
    for item in recipe.overlays:
        for name, option in item.overlay.options.items():
            yield ShownOption(
                item.name,
                name,
                option.type,
                recipe.options[item.name][name],
                option.default,
                option.description,
                origins.get(("options", item.name, name), DEFAULT),
            )


def _explained(value: Any, key: KeyPath, origins: dict[KeyPath, str]) -> Iterator[Explained]:
    if isinstance(value, dict) and value:
        for name, item in value.items():
            yield from _explained(item, (*key, name), origins)
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from _explained(item, (*key, index), origins)
    else:
        yield Explained(dotted(key), value, origins.get(key, DEFAULT))
