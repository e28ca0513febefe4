"""Every image of a project, but for those that nobody locked yet and that cannot be locked on this machine."""

from __future__ import annotations

from builder.data.profile import Architecture
from builder.foundation.errors import Problem
from builder.foundation.workbench import Workbench
from builder.steps.mirrors import unlocated
from builder.steps.profiles import every_image, load_recipe


def every_image_here(workbench: Workbench) -> tuple[list[tuple[str, Architecture]], list[Problem]]:
    """As :func:`every_image`, and a note for each that is left alone.

    ``--all`` would else fail wherever a vendor's repository is out of reach, for every image of the project.

    Raises:
        InputError: an option is malformed.
    """
    found, problems = every_image(workbench.project)
    here = []
    for name, architecture in found:
        if missing := out_of_reach(workbench, name, architecture):
            why = "; ".join(f"{problem.what} ({problem.remedy})" for problem in missing)
            workbench.progress.note(f"{name} {architecture} is left alone, it has no lock yet: {why}")
        else:
            here.append((name, architecture))
    return here, problems


def out_of_reach(workbench: Workbench, name: str, architecture: Architecture) -> list[Problem]:
    """Why an image that has no lock cannot get one on this machine: what nothing locates. Nothing when it has one.

    Raises:
        InputError: the profile is wrong, or an option is malformed.
    """
    if workbench.project.lock(name, architecture).is_file():
        return []
    recipe = load_recipe(workbench.project, name)
    repositories, wheels = recipe.profile.repositories, bool(recipe.requirements)
    return unlocated(workbench.mirrors, workbench.indices, repositories, wheels=wheels)
