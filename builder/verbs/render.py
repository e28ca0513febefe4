"""``lichen render``: the mkosi configuration of a profile, for people and for plain mkosi."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from builder.foundation.atomic import replace_folder
from builder.foundation.errors import InputError, Problem
from builder.foundation.store import Store
from builder.foundation.workbench import Workbench
from builder.steps.export import export_repository, export_wheels
from builder.steps.fetch import Sources, fetch
from builder.steps.mirrors import debian_mirrors, wheel_index
from builder.steps.profiles import load_buildable
from builder.steps.render import rendered_tree, write_tree
from builder.verbs.lock import current_lock

MARK = "mkosi.conf"


def render(
    workbench: Workbench,
    name: str,
    architecture: str | None = None,
    *,
    destination: Path,
    packages: bool = False,
) -> Path:
    """Write the rendered tree into ``destination``, replacing an earlier one.

    Args:
        packages: fetch and export the locked packages and wheels too, so that plain mkosi can build:
            ``mkosi -C tools`` first, then ``mkosi`` in the top folder.

    Raises:
        InputError: the profile is wrong, its lock is stale, or ``destination`` holds something else.
    """
    recipe = load_buildable(workbench.project, name)
    lock = current_lock(workbench, recipe, recipe.require_architecture(architecture))
    tree = rendered_tree(recipe, lock)
    destination = destination.absolute()
    if destination.exists() and not (destination / MARK).is_file() and any(destination.iterdir()):
        why = "it is not empty and not an earlier rendered tree"
        raise InputError(Problem("will not overwrite the folder", str(destination), why, "name another folder"))
    destination.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=destination.parent, prefix=f".{destination.name}."))
    try:
        aside.chmod(0o755)
        write_tree(tree, aside)
        if packages:
            store = Store(workbench.cache.store)
            sources = Sources(
                debian_mirrors(workbench.runner, workbench.mirrors), wheel_index(workbench.runner, workbench.indices)
            )
            fetch(store, [*lock.debs, *lock.wheels], sources, workbench.progress)
            image = [deb for deb in lock.debs if {"image", "initrd"} & set(deb.uses)]
            for debs, folder in ((image, aside / "packages"), (lock.used_by("tools"), aside / "tools" / "packages")):
                export_repository(store, debs, folder, recipe.profile.suite, workbench.runner, lock.source_date_epoch)
            export_wheels(store, lock.wheels, aside / "wheels")
        replace_folder(aside, destination)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return destination
