"""What profiles a project has, and whether each is locked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from builder.data.lock import read_lock
from builder.data.profile import Architecture
from builder.data.recipe import Recipe
from builder.foundation.errors import InputError, Problem
from builder.foundation.workbench import Workbench
from builder.steps.profiles import load_recipe, profile_names
from builder.verbs.lock import current_lock

LockState = Literal["current", "stale", "missing", "damaged"]


@dataclass(frozen=True)
class Listed:
    """One profile of the project.

    Attributes:
        locks: for each architecture, whether its lock covers what the profile says now; empty for a parent.
        problems: why the profile does not load; the other attributes say nothing then.
    """

    name: str
    description: str = ""
    abstract: bool = False
    architectures: tuple[str, ...] = ()
    locks: tuple[tuple[str, LockState], ...] = ()
    problems: tuple[Problem, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "name": self.name,
            "description": self.description,
            "abstract": self.abstract,
            "architectures": list(self.architectures),
            "locks": dict(self.locks),
            "problems": [problem.as_dict() for problem in self.problems],
        }


def list_profiles(workbench: Workbench) -> tuple[Listed, ...]:
    """All profiles by name. One that does not load is listed with its problems and hides no other."""
    return tuple(_listed(workbench, name) for name in profile_names(workbench.project))


def _listed(workbench: Workbench, name: str) -> Listed:
    try:
        recipe = load_recipe(workbench.project, name)
    except InputError as error:
        return Listed(name, problems=error.problems)
    profile = recipe.profile
    locks: tuple[tuple[str, LockState], ...] = ()
    if not profile.abstract:
        locks = tuple((wanted, _lock_state(workbench, recipe, wanted)) for wanted in profile.architectures)
    return Listed(name, " ".join(profile.description.split()), profile.abstract, profile.architectures, locks)


def _lock_state(workbench: Workbench, recipe: Recipe, architecture: Architecture) -> LockState:
    path = workbench.project.lock(recipe.name, architecture)
    if not path.is_file():
        return "missing"
    try:
        read_lock(path)
    except InputError:
        return "damaged"
    try:
        current_lock(workbench, recipe, architecture)
    except InputError:
        return "stale"
    return "current"
