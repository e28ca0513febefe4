"""The recipe: one profile with parents merged, its overlays read and their options settled."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from builder.data.certificate import Certificate
from builder.data.kernel import OwnKernel
from builder.data.overlay import Overlay
from builder.data.profile import MAIN, Architecture, Profile
from builder.data.publickey import PublicKey
from builder.data.yamlfile import Document, KeyPath
from builder.foundation.digest import digest_file, digest_tree, digest_value
from builder.foundation.errors import InputError, Problem

# Keys of a profile that decide nothing, or of which only a part does.
_SAID_OTHERWISE = ("description", "extends", "models", "repositories", "board", "components")


@dataclass(frozen=True)
class OverlayFolder:
    """An overlay and where it lives; ``document`` is its ``overlay.yaml`` as it was written."""

    name: str
    folder: Path
    overlay: Overlay
    document: Document

    def origin(self, key: KeyPath) -> str:
        """``FILE:LINE`` of a key of ``overlay.yaml``."""
        return f"{self.document.path}:{self.document.line(key)}"

    @property
    def tree(self) -> Path:
        """Files for the image."""
        return self.folder / "tree"

    @property
    def skeleton(self) -> Path:
        """Files that lie in the image before its packages are installed."""
        return self.folder / "skeleton"

    @property
    def bpf(self) -> Path:
        """Programs for the kernel's BPF."""
        return self.folder / "bpf"

    def patches(self, driver: str) -> tuple[Path, ...]:
        """Patches for the sources in the Debian package ``driver``, in the order in which they are applied."""
        return tuple(sorted((self.folder / "drivers" / driver).glob("*.patch")))

    @property
    def tests(self) -> Path:
        """Tests that hold for any image with this overlay."""
        return self.folder / "tests"


@dataclass(frozen=True)
class Recipe:
    """Everything that a person said about one image.

    Attributes:
        name: the profile's name.
        profile: the merged profile.
        overlays: in the order in which their files are laid down.
        options: per overlay, every declared option with its value in this profile.
        origins: for each key path of the merged profile, ``FILE:LINE`` of the file that set it.
        keys: the public key of each of the profile's repositories.
        kernel: the project's own kernel, None for one that Debian built.
        secure_boot: the certificate of the key that signs the UKI, None when none is to be signed.
    """

    name: str
    profile: Profile
    overlays: tuple[OverlayFolder, ...]
    options: dict[str, dict[str, Any]]
    origins: dict[KeyPath, str]
    keys: dict[str, PublicKey] = field(default_factory=dict)
    kernel: OwnKernel | None = None
    secure_boot: Certificate | None = None

    def packages(self, architecture: Architecture) -> tuple[str, ...]:
        """Debian packages of the image that a person named, and its kernel if Debian built it, sorted."""
        kernel = self.profile.kernel.built_by_debian(architecture)
        named = {*((kernel,) if kernel else ()), *self.profile.packages}
        for item in self.overlays:
            named.update(item.overlay.packages, item.overlay.python.provided.values())
        return tuple(sorted(named))

    @property
    def drivers(self) -> tuple[str, ...]:
        """Debian packages with the sources of drivers that are compiled for the project's own kernel, sorted."""
        return tuple(sorted({name for item in self.overlays for name in item.overlay.drivers}))

    def patches(self, driver: str) -> tuple[Path, ...]:
        """What all overlays change in the sources of a driver, in the order in which it is applied."""
        return tuple(path for item in self.overlays for path in item.patches(driver))

    @property
    def bpf(self) -> dict[str, Path]:
        """Folders with programs for the kernel's BPF, by overlay."""
        return {item.name: item.bpf for item in self.overlays if item.bpf.is_dir()}

    @property
    def skeleton(self) -> dict[str, Path]:
        """What all overlays lay down before packages are installed: place in the image (relative) to source."""
        folders = [item.skeleton for item in self.overlays]
        found = {path.relative_to(folder).as_posix(): path for folder in folders for path in folder.rglob("*")}
        return {place: path for place, path in sorted(found.items()) if path.is_file()}

    @property
    def requirements(self) -> tuple[str, ...]:
        """Python requirements of all overlays, sorted."""
        return tuple(sorted({line for item in self.overlays for line in item.overlay.python.requirements}))

    @property
    def provided(self) -> dict[str, str]:
        """Python distributions that Debian packages provide: distribution name to package."""
        return {
            name: package for item in self.overlays for name, package in sorted(item.overlay.python.provided.items())
        }

    @property
    def ports(self) -> tuple[int, ...]:
        """TCP ports that the overlays' tests reach, sorted."""
        return tuple(sorted({port for item in self.overlays for port in item.overlay.ports}))

    def require_architecture(self, architecture: str | None) -> Architecture:
        """``architecture``, or the profile's first one when None is asked for.

        Raises:
            InputError: the profile is not built for it.
        """
        offered = self.profile.architectures
        if architecture is None:
            return offered[0]
        for known in offered:
            if known == architecture:
                return known
        why = f"{self.name} is built for {', '.join(offered)}"
        raise InputError(
            Problem(f"no architecture {architecture!r} in this profile", self.name, why, "choose one of them")
        )

    def digest(self) -> str:
        """Digest of everything said, overlay file contents included, wherever the project lies on disk.

        Neither tests nor descriptions count: changing one changes no byte of the image. What an overlay says about
        its options is checked already and stands here as their values. Where repositories and models come from is
        no matter either, only whose key signs and which bytes come.
        """
        profile = self.profile
        return digest_value(
            {
                "name": self.name,
                "profile": profile.model_dump(
                    mode="json",
                    exclude={
                        **dict.fromkeys(_SAID_OTHERWISE, True),
                        "image": {"secure_boot"},
                        "kernel": {"certificate", "fragments"},
                    },
                ),
                "models": {
                    name: model.model_dump(mode="json", exclude={"source"}) for name, model in profile.models.items()
                },
                "repositories": {
                    name: {**repository.choosing(), "key": self.keys[name].sha256}
                    for name, repository in profile.repositories.items()
                },
                **({"kernel": self.kernel.identity()} if self.kernel else {}),
                # Without one, a lock of before there were boards stays current.
                **({"board": profile.board} if profile.board else {}),
                **({"components": profile.release_components} if profile.release_components != MAIN else {}),
                **({"secure_boot": self.secure_boot.sha256} if self.secure_boot else {}),
                "options": self.options,
                "overlays": [
                    {
                        "name": item.name,
                        "overlay": item.overlay.said("description", "options", "credentials"),
                        "tree": digest_tree(item.tree) if item.tree.is_dir() else "",
                        **({"skeleton": digest_tree(item.skeleton)} if item.skeleton.is_dir() else {}),
                        **({"patches": patches} if (patches := _patches(item)) else {}),
                        **({"bpf": digest_tree(item.bpf)} if item.bpf.is_dir() else {}),
                    }
                    for item in self.overlays
                ],
            }
        )


def _patches(item: OverlayFolder) -> dict[str, list[str]]:
    """For each driver that an overlay changes, the digests of its patches."""
    found = {name: [digest_file(path) for path in item.patches(name)] for name in item.overlay.drivers}
    return {name: digests for name, digests in found.items() if digests}
