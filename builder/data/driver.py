"""Drivers: modules of others, compiled for the project's own kernel from the sources in a Debian package for DKMS."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from builder.data.kernel import KernelBuild
from builder.data.lock import Deb, Lock
from builder.data.rendered import RenderedFile, Tree
from builder.foundation.digest import digest_bytes, digest_value
from builder.foundation.errors import Problem

# How Debian ends the names of such packages.
_DKMS = "-dkms"


@dataclass(frozen=True)
class DriverBuild:
    """One driver as it will be built.

    Attributes:
        source: Debian's package with the sources; it is never installed.
        patches: what overlays change in the sources, in the order in which it is applied.
    """

    source: Deb
    patches: tuple[bytes, ...]
    kernel: KernelBuild

    @property
    def name(self) -> str:
        """The driver's own name, as in ``nvidia-open-kernel``; its modules' folder below ``updates`` is called so."""
        return self.source.name.removesuffix(_DKMS)

    @property
    def package(self) -> str:
        """Name of the package with the compiled modules."""
        return f"{self.name}-{self.kernel.release}"

    @property
    def version(self) -> str:
        """Version of that package: Debian's, and behind it eight digits that tell kernels and patches apart."""
        decisive = [self.source.sha256, self.kernel.version, *map(digest_bytes, self.patches)]
        return f"{self.source.version}+lichen.{digest_value(decisive)[:8]}"


def patch_problems(folder: Path, drivers: Collection[str]) -> Iterator[Problem]:
    """Files in ``folder``, an overlay's ``drivers/``, that change none of the overlay's ``drivers``."""
    for path in sorted(folder.rglob("*")):
        package, *rest = path.relative_to(folder).parts
        if path.is_dir() or (package in drivers and len(rest) == 1 and path.suffix == ".patch"):
            continue
        why = "patches are drivers/PACKAGE/NAME.patch, for a package that the overlay names in `drivers`"
        yield Problem("the file patches no driver", str(path), why, "rename it, name the package, or remove the file")


def driver_sources(drivers: Sequence[DriverBuild], lock: Lock) -> Tree:
    """What drivers are compiled from."""
    (patch,) = lock.used_by("patch")
    tree = {"patch.deb": RenderedFile(mode=0o444, stored=patch)}
    for driver in drivers:
        tree[f"drivers/{driver.name}/source.deb"] = RenderedFile(mode=0o444, stored=driver.source)
        for number, patch_text in enumerate(driver.patches):
            tree[f"drivers/{driver.name}/{number:03}.patch"] = RenderedFile(patch_text)
    return tree
