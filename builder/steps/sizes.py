"""What takes the room in an image: bytes by owner, the budget, large files that are there twice.

Sizes are those of the files' contents, without the file system's own blocks. The list of files does not tell hard
links: each name of a linked file counts.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from builder.data.comparison import Duplicate
from builder.data.contents import BUILD, FileEntry
from builder.data.model import size_in_bytes
from builder.data.recipe import Recipe
from builder.foundation.atomic import mebibytes
from builder.foundation.errors import LichenError, Problem
from builder.foundation.progress import Progress

NAMED = 10  # owners that an error about the budget names, duplicates that a build notes
LARGE = 1 << 20  # bytes from which on a file that is there twice is worth a word
# A library's name up to its major version, which is what programs ask for: libcudart.so.12.4.127 is libcudart.so.12.
_LIBRARY = re.compile(r"lib[^/]+?\.so\.[0-9]+")


def weigh(recipe: Recipe, entries: Sequence[FileEntry], progress: Progress) -> None:
    """Hold an image to the size budget of its profile, and note large files that are there twice.

    Raises:
        LichenError: the image is over the budget.
    """
    budget = recipe.profile.image.size_budget
    if budget is not None:
        where = recipe.origins.get(("image", "size_budget"), "image.size_budget")
        require_budget(entries, size_in_bytes(budget), where)
    for found in duplicates(entries)[:NAMED]:
        same = "the same" if found.identical else "a library"
        owners = " and ".join(found.owners)
        progress.note(f"{found.name}: {same} from {owners}; {mebibytes(found.saved)} MiB could be saved")


def by_owner(entries: Iterable[FileEntry]) -> dict[str, int]:
    """Bytes of each owner's files, the largest owner first."""
    sizes: Counter[str] = Counter()
    for entry in entries:
        if entry.kind == "file":
            sizes[entry.owner] += entry.size
    return dict(sorted(sizes.items(), key=lambda item: (-item[1], item[0])))


def require_budget(entries: Iterable[FileEntry], budget: int, where: str) -> None:
    """Check that all files together take no more than ``budget`` bytes.

    Args:
        where: file and line, or key, that sets the budget.

    Raises:
        LichenError: names the total, the budget and the largest owners.
    """
    sizes = by_owner(entries)
    total = sum(sizes.values())
    if total <= budget:
        return
    largest = [f"{mebibytes(size):>6} MiB  {owner}" for owner, size in list(sizes.items())[:NAMED]]
    rest = sum(list(sizes.values())[NAMED:])
    if rest:
        largest.append(f"{mebibytes(rest):>6} MiB  {len(sizes) - NAMED} others")
    over = f"its files take {mebibytes(total)} MiB, {mebibytes(total - budget)} MiB more than {mebibytes(budget)} MiB"
    remedy = "take something out, or raise image.size_budget in the profile and run `lichen lock`"
    why = "\n".join((f"{over}; the largest:", *largest))
    raise LichenError(Problem("the image is over its size budget", where, why, remedy))


def duplicates(entries: Iterable[FileEntry], minimum: int = LARGE) -> tuple[Duplicate, ...]:
    """Files of at least ``minimum`` bytes that several owners bring, what would save most first.

    Found by equal bytes, and as one library that a Debian package and a wheel bring in builds of their own. What the
    build itself copies, such as the kernel, does not count: no profile can leave it out.
    """
    equal: defaultdict[str, list[FileEntry]] = defaultdict(list)
    alike: defaultdict[str, list[FileEntry]] = defaultdict(list)
    for entry in entries:
        if entry.kind == "file" and entry.size >= minimum and entry.owner != BUILD:
            equal[entry.sha256 or entry.path].append(entry)
            if library := _LIBRARY.match(_name(entry)):
                alike[library[0]].append(entry)
    found = [_duplicate(_name(group[0]), group) for group in equal.values() if _owners(group) > 1]
    for name, group in alike.items():
        kinds = {entry.owner.partition(":")[0] for entry in group}
        if {"deb", "wheel"} <= kinds and len({entry.sha256 for entry in group}) > 1:
            found.append(_duplicate(name, group))
    return tuple(sorted(found, key=lambda item: (-item.saved, item.name, item.paths)))


def _name(entry: FileEntry) -> str:
    return entry.path.rpartition("/")[2]


def _owners(group: Sequence[FileEntry]) -> int:
    return len({entry.owner for entry in group})


def _duplicate(name: str, group: Sequence[FileEntry]) -> Duplicate:
    sizes = [entry.size for entry in group]
    return Duplicate(
        name=name,
        identical=len({entry.sha256 for entry in group}) == 1,
        owners=tuple(sorted({entry.owner for entry in group})),
        paths=tuple(sorted(entry.path for entry in group)),
        saved=sum(sizes) - max(sizes),
    )
