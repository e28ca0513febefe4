"""Where the image's files lie: what overlays, models and Lichen itself lay down, and that no two claim one place."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from builder.data.overlay import Overlay
from builder.data.profile import Layout, Model
from builder.data.recipe import OverlayFolder
from builder.data.yamlfile import Document, KeyPath
from builder.foundation.errors import Problem

PRESET = "usr/lib/systemd/system-preset/10-lichen.preset"
HOSTNAME = "etc/hostname"
# The state partition of an immutable image. A type of its own: systemd-repart recognises partitions by their type, and
# this one must never be mistaken for another.
STATE_TYPE = "9f4a3c1e-5d0b-4e6a-8a57-2c1b7f60d3e8"
STATE_LABEL = "lichen-state"
# Folders of an immutable image that machines write to: what they change lies on the state partition, over the image's.
WRITABLE = ("etc", "home", "root", "srv", "var")
STATE = "state"
# What Lichen lays in every image before its packages (builder/templates/base/mkosi.skeleton).
LAID_BEFORE = ("usr/bin/py3compile", "var/lib/dpkg/diversions")
# What the layouts themselves lay down (builder/templates/layouts), and where the state partition is mounted.
LAID_DOWN: dict[Layout, tuple[str, ...]] = {
    "mutable": (),
    "immutable": (
        STATE,
        "usr/lib/lichen/factory-reset",
        "usr/lib/lichen/state.repart.d/20-state.conf",
        "usr/lib/systemd/system/factory-reset.target.d/10-lichen.conf",
        "usr/lib/systemd/system/lichen-factory-reset.service",
        "usr/lib/tmpfiles.d/lichen-state.conf",
    ),
}
# Fragments of kernel-configs/ that a kernel of the project's own needs to mount the root file system.
LAYOUT_FRAGMENTS: dict[Layout, tuple[str, ...]] = {"mutable": (), "immutable": ("verity",)}
# Where a model would be configuration, hidden by a file system that is mounted at boot, or removed by the build.
NOT_FOR_MODELS = (
    *("boot", "dev", "efi", "etc", "proc", "run", "sys", "tmp"),
    *("var/cache", "var/lib/apt", "var/lib/dpkg", "var/log", "var/tmp"),
)
# In Debian these are links to the folders of the same name below usr.
LINKS_TO_USR = ("bin", "lib", "lib64", "sbin")


def overlay_targets(item: OverlayFolder) -> Iterator[tuple[str, Path]]:
    """Each file and link of an overlay's tree, sorted: where it lies in the image (relative), and its source."""
    for path in sorted(item.tree.rglob("*")) if item.tree.is_dir() else ():
        name = path.relative_to(item.tree).as_posix()
        if path.is_symlink():
            yield name, path
        elif path.is_file() and "__pycache__" not in path.parts:
            yield name.removesuffix(".j2"), path


def layout_problems(
    overlays: Sequence[OverlayFolder], models: Mapping[str, Model], layout: Layout, place: Callable[[KeyPath], str]
) -> Iterator[Problem]:
    """What cannot be laid down: targets of models that are no place for one, and places claimed twice.

    Args:
        place: where a person wrote a key of the profile.
    """
    claims = _Claims(dict.fromkeys((PRESET, HOSTNAME, *LAID_DOWN[layout]), "Lichen's own file"))
    for item in overlays:
        for target, path in overlay_targets(item):
            yield from claims.claim(target, str(path), str(path))
    yield from _skeleton_problems(overlays)
    for name, model in models.items():
        where = place(("models", name, "target"))
        if why := _unfit(model.target):
            yield Problem("a model cannot lie there", where, why, "name a place such as /usr/share/models/NAME")
        else:
            yield from claims.claim(model.target[1:], f"the model {name} ({where})", where)


def _skeleton_problems(overlays: Sequence[OverlayFolder]) -> Iterator[Problem]:
    """What cannot lie in the image before its packages: two files for one place, and what is no plain file."""
    claims = _Claims(dict.fromkeys(LAID_BEFORE, "Lichen's own file"))
    for item in overlays:
        for path in sorted(item.skeleton.rglob("*")):
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                why = "packages' scripts are to find the same whatever lies around it"
                yield Problem("a skeleton has plain files only", str(path), why, "replace it with a file")
            elif path.is_file():
                yield from claims.claim(path.relative_to(item.skeleton).as_posix(), str(path), str(path))


def _unfit(target: str) -> str:
    """Why ``target`` is no place for a model; empty when it is."""
    if posixpath.normpath(target) != target or target.startswith("//"):
        return f"{target} is not written plainly: no .., no . and no // in it"
    inside = target[1:]
    for folder in (*NOT_FOR_MODELS, *LINKS_TO_USR):
        if inside == folder or inside.startswith(f"{folder}/"):
            link = f"/{folder} is a link to /usr/{folder}" if folder in LINKS_TO_USR else ""
            return link or f"/{folder} is no place for data that is baked in"
    return ""


@dataclass
class _Claims:
    """Who has a file at each place, and who has files below each folder."""

    files: dict[str, str]
    folders: dict[str, str] = field(default_factory=dict)

    def claim(self, target: str, who: str, where: str) -> Iterator[Problem]:
        """Claim ``target``; a problem when it, or a folder on the way to it, is a file of somebody else."""
        parents = [parent.as_posix() for parent in Path(target).parents][:-1]
        other = self.files.get(target) or self.folders.get(target)
        other = other or next((self.files[parent] for parent in parents if parent in self.files), None)
        if other:
            why = f"{other} is laid down at /{target} too"
            remedy = "remove one of them, or let one file have both contents by a template and an option"
            yield Problem("two files claim one place in the image", where, why, remedy)
            return
        self.files[target] = who
        for parent in parents:
            self.folders.setdefault(parent, who)


def tree_problems(tree: Path, overlay: Overlay, document: Document) -> Iterator[Problem]:
    """Files that are named but missing, and links that lead out of the tree."""
    if tree.is_symlink():
        yield Problem("the overlay's tree is a symbolic link", str(tree), f"to {tree.readlink()}", "use a real folder")
        return
    inside = tree.resolve()
    for name in overlay.modes:
        where = document.place(("modes", name))
        try:
            target = (tree / name).resolve()
            found = target.is_file() or target.with_name(target.name + ".j2").is_file()
        except (OSError, ValueError, RuntimeError) as error:
            # No name of a file at all, too long for one, or links in a circle.
            yield Problem("the path cannot be followed", where, str(error), "write it relative to tree/")
            continue
        if not target.is_relative_to(inside):
            yield Problem(
                "the path leaves the overlay's tree", where, f"it points to {target}", "write it relative to tree/"
            )
        elif not found:
            yield Problem(
                "the file is missing from the overlay", where, f"there is no {tree / name}", "add it or drop the mode"
            )
    for path in sorted(tree.rglob("*")) if tree.is_dir() else ():
        if path.is_symlink() and not _stays_inside(tree, path):
            why = f"it points to {path.readlink()}"
            yield Problem(
                "a symbolic link leaves the overlay's tree", str(path), why, "use a relative link that stays in tree/"
            )
        elif not path.is_symlink() and not path.is_file() and not path.is_dir():
            yield Problem(
                "not a file, folder or link", str(path), "devices and sockets cannot be in an overlay", "remove it"
            )


def _stays_inside(tree: Path, link: Path) -> bool:
    target = link.readlink()
    # An absolute target names a file of the image, not of this machine: systemd masks are links to /dev/null.
    if target.is_absolute():
        return ".." not in target.parts
    depth = len(link.relative_to(tree).parts) - 1
    for part in target.parts:
        depth += -1 if part == ".." else 1
        if depth < 0:
            return False
    return True
