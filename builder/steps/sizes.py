"""What takes the room in an image: bytes by owner, and the budget.

Sizes are those of the files' contents, without the file system's own blocks. The list of files does not tell hard
links: each name of a linked file counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from builder.data.contents import FileEntry
from builder.data.duplicates import duplicates
from builder.data.model import size_in_bytes
from builder.data.recipe import Recipe
from builder.foundation.atomic import mebibytes
from builder.foundation.errors import LichenError, Problem
from builder.foundation.progress import Progress

NAMED = 10  # owners that an error about the budget names, duplicates that a build notes


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
