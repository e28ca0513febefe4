"""Where the files of a lock come from on this machine: asked only for what is wanted."""

from __future__ import annotations

from collections.abc import Sequence

from builder.data.lock import Deb, Wheel
from builder.data.recipe import Recipe
from builder.foundation.workbench import Workbench
from builder.steps.fetch import Sources
from builder.steps.mirrors import archive_mirrors, wheel_index


def find_sources(workbench: Workbench, recipe: Recipe, files: Sequence[Deb | Wheel]) -> Sources:
    """Mirrors of the archives that ``files`` lie in, and indices when wheels are among them.

    Raises:
        InputError: an archive or the wheels have none.
    """
    archives = sorted({file.archive for file in files if isinstance(file, Deb)})
    wheels = any(isinstance(file, Wheel) for file in files)
    repositories = recipe.profile.repositories
    mirrors = archive_mirrors(workbench.runner, workbench.mirrors, archives, repositories) if archives else {}
    return Sources(mirrors, wheel_index(workbench.runner, workbench.indices) if wheels else ())
