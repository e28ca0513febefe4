"""What a bill of materials lists, whatever its format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from builder.data.contents import FileEntry

Kind = Literal["deb", "wheel", "model", "overlay", "tool"]
Role = Literal["kernel", "firmware", "driver", ""]
SPDX = "sbom.spdx.json"
CYCLONEDX = "sbom.cdx.json"


@dataclass(frozen=True)
class Part:
    """One thing that an image was made from.

    Attributes:
        kind: a tool made the image; anything else is inside.
        licence: an SPDX expression, or ``NOASSERTION``.
        sha256: of its file; of an overlay, of its settings and files as :func:`builder.foundation.digest` has it.
        purl: package URL, where there is a type of it for this kind.
        source: name and version of the Debian source package.
        role: which debs are the kernel, firmware and drivers.
        note: a sentence for a person.
    """

    kind: Kind
    name: str
    version: str
    licence: str
    sha256: str | None = None
    purl: str | None = None
    source: str = ""
    role: Role = ""
    note: str = ""


@dataclass(frozen=True)
class Bill:
    """The parts of one image, and the files that none of them brought.

    Attributes:
        lock: digest of the lock.
        image: SHA-256 of the disk image.
        epoch: seconds since 1970, the time that the bill bears.
        parts: by kind and name.
        files: regular files whose owner is ``build``, by path.
    """

    profile: str
    architecture: str
    lock: str
    image: str
    epoch: int
    lichen: str
    parts: tuple[Part, ...]
    files: tuple[FileEntry, ...]
