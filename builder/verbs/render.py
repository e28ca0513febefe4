"""``lichen render``: the mkosi configuration of a profile, for people and for plain mkosi."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from builder.data.lock import Lock
from builder.foundation.atomic import disk_error
from builder.foundation.errors import InputError, Problem
from builder.foundation.making import alone, made_anew
from builder.foundation.store import Store
from builder.foundation.workbench import Workbench
from builder.steps.export import export_repository, export_wheels
from builder.steps.profiles import load_buildable
from builder.steps.render import rendered_tree, write_tree
from builder.verbs.fetch import bring
from builder.verbs.lock import current_lock

MARK = "# Written by Lichen"  # how mkosi.conf of a rendered tree begins


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
        packages: fetch and export the locked packages, wheels and models too, so that plain mkosi can build:
            ``mkosi -C tools`` first, for a kernel of the project's own ``mkosi -C toolchain`` and ``mkosi -C kernel``,
            for programs in BPF ``mkosi -C bpf-toolchain`` and ``mkosi -C bpf``, then ``mkosi`` in the top folder.
            Without it models are only listed in ``models.sha256``.

    Raises:
        InputError: the profile is wrong, its lock is stale, or ``destination`` holds something else.
    """
    recipe = load_buildable(workbench.project, name)
    lock = current_lock(workbench, recipe, recipe.require_architecture(architecture))
    tree = rendered_tree(recipe, lock)
    store = Store(workbench.cache.store)
    destination = destination.absolute()
    with _told(destination):
        _require_ours(destination)
    with _told(destination), alone(destination), made_anew(destination) as folder:
        if packages:
            bring(workbench, recipe, lock, lock.files)
        write_tree(tree, folder, store if packages else None)
        folder.chmod(0o755)
        if packages:
            _export(workbench, recipe.profile.suite, lock, folder)
    return destination


def _require_ours(destination: Path) -> None:
    """Refuse to replace anything but an empty folder or an earlier rendered tree."""
    if destination.is_dir():
        mark = destination / "mkosi.conf"
        if not any(destination.iterdir()) or (mark.is_file() and mark.read_bytes().startswith(MARK.encode())):
            return
        why = "it is not empty and not an earlier rendered tree"
    elif os.path.lexists(destination):
        why = "it is not a folder"
    else:
        return
    raise InputError(Problem("will not overwrite what is there", str(destination), why, "name another folder"))


def _export(workbench: Workbench, suite: str, lock: Lock, folder: Path) -> None:
    """The packages and wheels that plain mkosi needs."""
    store = Store(workbench.cache.store)
    image = [deb for deb in lock.debs if {"image", "initrd"} & set(deb.uses)]
    places = {folder: image, folder / "tools": lock.used_by("tools")}
    if lock.used_by("source"):
        places |= {folder / "toolchain": lock.used_by("toolchain"), folder / "kernel": ()}
    if lock.used_by("bpf"):
        places |= {folder / "bpf-toolchain": lock.used_by("bpf"), folder / "bpf": ()}
    for place, debs in places.items():
        export_repository(store, debs, place / "packages", suite, workbench.runner)
    export_wheels(store, lock.wheels, folder / "wheels")


@contextlib.contextmanager
def _told(destination: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise disk_error(error, destination) from error
