"""The recipe: one profile with parents merged, its overlays read and their options settled."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.data.overlay import Overlay
from builder.data.profile import Architecture, Profile
from builder.data.yamlfile import KeyPath
from builder.foundation.digest import digest_tree, digest_value
from builder.foundation.errors import InputError, Problem


@dataclass(frozen=True)
class OverlayFolder:
    """An overlay and where it lives."""

    name: str
    folder: Path
    overlay: Overlay

    @property
    def tree(self) -> Path:
        """Files for the image."""
        return self.folder / "tree"

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
    """

    name: str
    profile: Profile
    overlays: tuple[OverlayFolder, ...]
    options: dict[str, dict[str, Any]]
    origins: dict[KeyPath, str]

    @property
    def packages(self) -> tuple[str, ...]:
        """Debian packages of the image that a person named, sorted."""
        named = {self.profile.kernel.package, *self.profile.packages}
        for item in self.overlays:
            named.update(item.overlay.packages, item.overlay.python.provided.values())
        return tuple(sorted(named))

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

        Tests do not count: changing one changes no byte of the image.
        """
        return digest_value(
            {
                "name": self.name,
                "profile": self.profile.model_dump(mode="json", exclude={"extends"}),
                "options": self.options,
                "overlays": [
                    {
                        "name": item.name,
                        "overlay": item.overlay.model_dump(mode="json"),
                        "tree": digest_tree(item.tree) if item.tree.is_dir() else "",
                    }
                    for item in self.overlays
                ],
            }
        )
