"""What an image folder tells about its image, worked out while it is built: the list of its files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from builder.data.contents import CONTENTS, FileEntry, contents_text, read_contents
from builder.data.lock import Lock
from builder.data.recipe import Recipe
from builder.steps.contents import (
    INVENTORY,
    deb_owners,
    require_database,
    require_wheels,
    wheel_owners,
    with_owners,
)
from builder.steps.render import PYTHON_PREFIX, overlay_files


def documents(recipe: Recipe, lock: Lock, output: Path, trees: Mapping[str, Path]) -> dict[str, str]:
    """Name and text of each such file.

    Args:
        output: where mkosi left the image and the inventory of its root file system.
        trees: roots of the components ``base`` and, if there is one, ``python``.

    Raises:
        LichenError: what is inside is not what was locked.
    """
    entries = _contents(recipe, lock, output, trees)
    return {CONTENTS: contents_text(entries)}


def _contents(recipe: Recipe, lock: Lock, output: Path, trees: Mapping[str, Path]) -> list[FileEntry]:
    entries = list(read_contents(output / INVENTORY))
    require_database(entries, trees["base"])
    require_wheels(entries, lock, PYTHON_PREFIX)
    named = {f"/{path}": f"overlay:{file.overlay}" for path, file in overlay_files(recipe).items() if file.overlay}
    models = {model.target: f"model:{model.name}" for model in lock.models}
    wheels = wheel_owners(trees["python"], PYTHON_PREFIX) if "python" in trees else {}
    # What is laid down later is asked first.
    return with_owners(entries, [models, named, wheels, deb_owners(trees["base"])])
