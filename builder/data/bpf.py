"""Programs for the kernel's BPF, compiled from an overlay's C with the types of the image's own kernel (CO-RE)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from builder.data.lock import Deb, Lock
from builder.data.profile import Architecture
from builder.data.recipe import Recipe
from builder.data.rendered import RenderedFile, Tree
from builder.foundation.errors import InputError, Problem

# Ending of a program's source, and of what it becomes.
SOURCE = ".bpf.c"
OBJECT = ".bpf.o"
# Where the programs lie in an image.
FOLDER = "/usr/lib/lichen/bpf"
# What libbpf's headers call the architecture whose registers they name (bpf_tracing.h).
TARGETS: dict[Architecture, str] = {"amd64": "x86", "arm64": "arm64", "riscv64": "riscv"}
_KERNEL = re.compile(r"linux-image-[0-9].*")


def program_sources(recipe: Recipe, lock: Lock) -> Tree:
    """What the programs of a recipe's overlays are compiled from; the project's own kernel is a component."""
    tree = {
        f"programs/{name}/{path.name}": RenderedFile(path.read_bytes())
        for name, folder in recipe.bpf.items()
        for path in sorted(folder.iterdir())
    }
    if kernel := debian_kernel(recipe, lock):
        tree["kernel.deb"] = RenderedFile(mode=0o444, stored=kernel)
    return tree


def debian_kernel(recipe: Recipe, lock: Lock) -> Deb | None:
    """The package whose kernel tells its types to a recipe's programs; None when that is the project's own.

    What a profile names is a package without files that depends on it.

    Raises:
        InputError: the lock has neither.
    """
    if recipe.kernel or not recipe.bpf:
        return None
    for deb in lock.used_by("image"):
        if _KERNEL.fullmatch(deb.name):
            return deb
    why = "programs are compiled with its types, and no locked package is called linux-image-VERSION"
    remedy = "name one in kernel.package, or a kernel.source, and lock again"
    raise InputError(Problem("there is no kernel for programs of the kernel's BPF", recipe.name, why, remedy))


def program_problems(folder: Path, others: Sequence[Path]) -> Iterator[Problem]:
    """What is wrong with ``folder``, an overlay's ``bpf/``; ``others`` are those of the profile's other overlays."""
    if not folder.is_dir():
        return
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file() or path.parent != folder:
            why = "it is copied beside the programs as it is"
            yield Problem("bpf/ has plain files only", str(path), why, "lay a file there")
    sources = sorted(folder.glob(f"*{SOURCE}"))
    if not sources:
        why = f"no file in it ends in {SOURCE}"
        yield Problem("bpf/ has no program", str(folder), why, "add one, or remove the folder")
    for path in sources:
        if twin := next((other / path.name for other in others if (other / path.name).exists()), None):
            why = f"{twin} has the same name, and both would lie in {FOLDER}"
            yield Problem("two programs claim one place in the image", str(path), why, "rename one of them")
