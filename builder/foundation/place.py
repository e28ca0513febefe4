"""Where things are: the project's folders and the cache of this machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from builder.foundation.errors import InputError, Problem


@dataclass(frozen=True)
class Project:
    """A folder with ``profiles/`` and ``overlays/``: Lichen's own, or a user's."""

    root: Path

    @property
    def profiles(self) -> Path:
        """One YAML file per profile."""
        return self.root / "profiles"

    @property
    def locks(self) -> Path:
        """One JSON file per profile and architecture."""
        return self.profiles / "locks"

    @property
    def overlays(self) -> Path:
        """One folder per overlay."""
        return self.root / "overlays"

    @property
    def images(self) -> Path:
        """Finished images, one folder each; not in version control."""
        return self.root / "out"

    def lock(self, profile: str, architecture: str) -> Path:
        """The lock file of a profile for an architecture."""
        return self.locks / f"{profile}.{architecture}.json"

    def image(self, profile: str, architecture: str, lock: str) -> Path:
        """The folder of a finished image; ``lock`` is the lock's digest: same lock, same name."""
        return self.images / f"{profile}_{architecture}_{lock[:12]}"


@dataclass(frozen=True)
class Cache:
    """What this machine keeps between runs; everything in it can be made again.

    Layout: ``store/`` content-addressed files, ``components/NAME/KEY/`` built parts, ``ccache/`` compiled objects,
    ``apt/`` private apt roots, ``uv/`` uv's own cache, ``wheels/`` what it is asked, ``workspace/`` builds under way
    when they are not on tmpfs.
    """

    root: Path

    @property
    def store(self) -> Path:
        """Content-addressed files."""
        return self.root / "store"

    @property
    def components(self) -> Path:
        """Built parts under their keys."""
        return self.root / "components"

    @property
    def apt(self) -> Path:
        """Private apt roots used while locking."""
        return self.root / "apt"

    @property
    def uv(self) -> Path:
        """Cache of uv itself."""
        return self.root / "uv"

    @property
    def compiled(self) -> Path:
        """Objects that ccache keeps, for kernels that differ little."""
        return self.root / "ccache"

    @property
    def workspace(self) -> Path:
        """Builds under way."""
        return self.root / "workspace"


def find_project(start: Path) -> Project:
    """The project that ``start`` lies in.

    Raises:
        InputError: neither ``start`` nor a parent has ``profiles/`` and ``overlays/``.
    """
    for folder in (start, *start.parents):
        if (folder / "profiles").is_dir() and (folder / "overlays").is_dir():
            return Project(folder)
    remedy = "change into a Lichen project, or name one with --project"
    raise InputError(Problem("no Lichen project here", str(start), "no parent has profiles/ and overlays/", remedy))


def default_cache() -> Cache:
    """``$LICHEN_CACHE``, else ``lichen`` in the user's cache folder (``$XDG_CACHE_HOME`` or ``~/.cache``)."""
    if named := os.environ.get("LICHEN_CACHE"):
        return Cache(Path(named).absolute())
    return Cache(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "lichen")
