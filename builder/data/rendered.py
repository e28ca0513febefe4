"""A rendered tree: the files of an mkosi configuration before they are on a disk."""

from __future__ import annotations

from dataclasses import dataclass

from builder.data.lock import Deb, LockedModel
from builder.foundation.digest import digest_bytes, digest_value


@dataclass(frozen=True)
class RenderedFile:
    """One file of a rendered tree: bytes and permissions, where it links to, or what of the store; and its overlay."""

    content: bytes = b""
    mode: int = 0o644
    link: str | None = None
    stored: LockedModel | Deb | None = None
    overlay: str | None = None

    def identity(self) -> list[str]:
        """What decides bytes of the image, for a digest."""
        if self.link is not None:
            return ["link", self.link]
        return [f"{self.mode:04o}", self.stored.sha256 if self.stored else digest_bytes(self.content)]


Tree = dict[str, RenderedFile]


def tree_digest(tree: Tree) -> str:
    """Digest of every path, mode and content."""
    return digest_value({path: file.identity() for path, file in tree.items()})
