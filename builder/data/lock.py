"""The lock: exactly what will be used, one file per profile and architecture, canonical JSON.

A lock names archives, suites, pool paths and hashes, never a host: it is valid on every mirror.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError

from builder.data.model import Frozen, Name, Sha256, _tuple
from builder.data.profile import Architecture
from builder.data.toolchain import Suite
from builder.foundation.digest import canonical_json, digest_bytes
from builder.foundation.errors import InputError, Problem

# A source is that of the kernel; drivers, and what patches their sources, are unpacked as well and never installed.
# What compiles BPF is a tree of its own: kernels do not move with it.
Use = Literal["image", "initrd", "tools", "mkosi", "toolchain", "source", "driver", "patch", "bpf"]


def _below(path: str) -> str:
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise ValueError("not a plain path below the archive's root")
    return path


class SuiteIndex(Frozen):
    """The signed index of a suite that versions were chosen from."""

    archive: Name
    suite: str
    date: str = Field(description="the index's own Date, ISO 8601 in UTC")
    inrelease_sha256: Sha256
    expired: bool = Field(False, description="its Valid-Until had passed and the person locking accepted that")

    @property
    def label(self) -> str:
        """What a person calls the suite."""
        return Suite(archive=self.archive, name=self.suite).label


class Deb(Frozen):
    """One Debian package file."""

    name: str
    version: str
    architecture: str
    archive: Name
    path: Annotated[str, AfterValidator(_below)] = Field(
        pattern=r"^[^\x00-\x20]+\.deb$", description="below the archive's root; vendors need not have a pool/"
    )
    size: int = Field(gt=0)
    sha256: Sha256
    uses: Annotated[tuple[Use, ...], BeforeValidator(_tuple)]

    @property
    def filename(self) -> str:
        """``name_version_architecture.deb`` as apt writes it (the epoch's colon escaped)."""
        return f"{self.name}_{self.version.replace(':', '%3a')}_{self.architecture}.deb"

    @property
    def source_package(self) -> str:
        """Name of the source package, as the path in a Debian pool tells it; a vendor's archive may be in any order."""
        return self.path.split("/")[-2] if self.path.startswith("pool/") else self.name


class Wheel(Frozen):
    """One Python wheel file."""

    name: str
    version: str
    filename: str = Field(pattern=r"^[A-Za-z0-9._+-]+\.whl$")
    size: int = Field(gt=0)
    sha256: Sha256
    uses: Annotated[tuple[Literal["image", "tools"], ...], BeforeValidator(_tuple)]
    repository: Name | None = Field(None, description="whose index it comes from; None: the machine's own")


class LockedModel(Frozen):
    """One trained model; where it comes from stands in the profile, since locks name no host."""

    name: Name
    sha256: Sha256
    size: int = Field(gt=0)
    target: str


LockedFile = Deb | Wheel | LockedModel


class LockedRepository(Frozen):
    """A repository besides Debian's that versions were chosen from: whose key signed it."""

    name: Name
    fingerprint: str
    key_sha256: Sha256


class Lock(Frozen):
    """``profiles/locks/PROFILE.ARCHITECTURE.json``.

    Two digests guard it: ``resolution`` covers what chose the versions (packages, requirements, suites, tools),
    ``recipe`` covers everything the profile and its overlays say, file contents included. When only ``recipe``
    moved, the lock is stamped anew without network and without moving a version.
    """

    format: Literal[1] = 1
    profile: Name
    architecture: Architecture
    recipe: Sha256
    resolution: Sha256
    source_date_epoch: int = Field(gt=0, description="seconds; the date of the youngest index used")
    suites: Annotated[tuple[SuiteIndex, ...], BeforeValidator(_tuple)]
    without: Annotated[tuple[str, ...], BeforeValidator(_tuple)] = Field(
        (), description="suites left out on purpose, because a mirror carries a broken index of them"
    )
    debs: Annotated[tuple[Deb, ...], BeforeValidator(_tuple)]
    wheels: Annotated[tuple[Wheel, ...], BeforeValidator(_tuple)]
    models: Annotated[tuple[LockedModel, ...], BeforeValidator(_tuple)] = ()
    repositories: Annotated[tuple[LockedRepository, ...], BeforeValidator(_tuple)] = ()

    def used_by(self, use: Use) -> tuple[Deb, ...]:
        """The packages locked for one use, in the lock's order (by name)."""
        return tuple(deb for deb in self.debs if use in deb.uses)

    @property
    def initrd_only(self) -> tuple[Deb, ...]:
        """The few packages that are in the initrd and not in the image's root."""
        return tuple(deb for deb in self.used_by("initrd") if "image" not in deb.uses)

    @property
    def files(self) -> tuple[LockedFile, ...]:
        """Every file, each once."""
        files: tuple[LockedFile, ...] = (*self.debs, *self.wheels, *self.models)
        return tuple({file.sha256: file for file in files}.values())

    def text(self) -> str:
        """The file's exact content."""
        return canonical_json(self.model_dump(mode="json"))

    @property
    def digest(self) -> str:
        """SHA-256 of :meth:`text`."""
        return digest_bytes(self.text().encode())


def read_lock(path: Path) -> Lock:
    """Read a lock file.

    Raises:
        InputError: missing, not JSON, or not of this format.
    """
    remedy = f"run `lichen lock {path.name.split('.')[0]}`"
    try:
        return Lock.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise InputError(
            Problem("there is no lock for this profile", str(path), "it was never made", remedy)
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(Problem("the lock is damaged", f"{path}: {place}", first["msg"], remedy)) from error
    except (OSError, ValueError) as error:
        raise InputError(Problem("the lock cannot be read", str(path), str(error), remedy)) from error


def iso_date(moment: datetime) -> str:
    """``moment`` (aware, UTC) as the lock writes dates."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
