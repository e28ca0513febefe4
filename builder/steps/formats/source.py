"""What every format is made from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from builder.data.manifest import DISK, UKI, Manifest
from builder.foundation.process import Runner
from builder.foundation.toolbox import Toolbox


@dataclass(frozen=True)
class Source:
    """A finished image, and what reads it.

    Attributes:
        folder: holds the image's files; nothing in it changes.
        scratch: an empty folder of this run.
    """

    folder: Path
    manifest: Manifest
    toolbox: Toolbox
    runner: Runner
    scratch: Path

    @property
    def disk(self) -> Path:
        """The disk image."""
        return self.folder / DISK

    @property
    def uki(self) -> Path:
        """The kernel, its initrd and its command line in one EFI program."""
        return self.folder / UKI
