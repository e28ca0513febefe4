"""``manifest.json`` beside every image: what is inside and what made it."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from builder.data.lock import Deb, LockedModel, Wheel
from builder.data.model import Frozen, Sha256
from builder.data.profile import Layout
from builder.foundation.digest import canonical_json
from builder.foundation.errors import InputError, Problem

MANIFEST = "manifest.json"
PROVENANCE = "provenance.json"
SUMS = "SHA256SUMS"  # of every file of the folder but itself, signatures and the build's log
SIGNATURE = "SHA256SUMS.sig"
ENVELOPE = "provenance.dsse.json"
LOG = "build.log"
KERNEL_CONFIG = "kernel.config"  # of the project's own kernel
DISK = "image.raw"
UKI = "image.efi"
SECURE_BOOT = "secure-boot.pem"  # the certificate that firmware must trust for Secure Boot, where the profile names one


class Artefact(Frozen):
    """One file of the image folder."""

    size: int
    sha256: Sha256


class Manifest(Frozen):
    """What is inside an image: every package, wheel and model, the lock and the tools that made it.

    Holds nothing that differs between two builds of one lock: no date, host, path or duration.

    Attributes:
        kernel: its release, as ``uname -r`` prints it.
        kernel_settings: for a kernel of the project's own, each symbol that must have a value, and which: ``y``, ``m``,
            ``n``, a number or a text in quotes, or ``m or y``.
    """

    format: int = 1
    profile: str
    architecture: str
    hostname: str
    lock: Sha256
    image: Sha256
    source_date_epoch: int
    overlays: tuple[str, ...]
    options: dict[str, dict[str, str | int | float | bool | tuple[str, ...]]]
    ports: tuple[int, ...]
    layout: Layout = "mutable"  # all there was before manifests told
    root_filesystem: str
    kernel: str
    kernel_settings: dict[str, str] = Field({})
    tools: dict[str, str]
    packages: tuple[Deb, ...]
    wheels: tuple[Wheel, ...]
    models: tuple[LockedModel, ...] = ()
    artefacts: dict[str, Artefact]

    def text(self) -> str:
        """The file's exact content."""
        return canonical_json(self.model_dump(mode="json"))


def read_manifest(path: Path) -> Manifest:
    """Read the manifest of an image folder.

    Raises:
        InputError: missing or not of this format.
    """
    try:
        # JSON has no tuples: strict models take its lists only in JSON mode.
        return Manifest.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        problem = Problem("this is not a complete image folder", str(path), str(error), "run `lichen build`")
        raise InputError(problem) from error
