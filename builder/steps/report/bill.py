"""Rows of the bill of materials: from the SPDX document beside the manifest, else from the manifest alone.

The manifest knows names, versions, sizes and digests; licences are in the SPDX document only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.data.bill import SPDX
from builder.data.manifest import Manifest
from builder.foundation.errors import InputError, Problem

# SPDX has no kinds that would tell a wheel from a deb: our identifiers name them.
_KIND = re.compile(r"SPDXRef-(deb|wheel|model|overlay|tool)-")
_IMAGE = "SPDXRef-image"  # the document lists the image itself too
_UNKNOWN = {"NOASSERTION", "NONE", ""}


@dataclass(frozen=True)
class Item:
    """One thing that is inside; ``size`` is of the package file, in bytes, None where nobody recorded it."""

    kind: str
    name: str
    version: str
    source: str = ""
    licence: str = ""
    size: int | None = None
    sha256: str = ""


def items(folder: Path, manifest: Manifest) -> tuple[tuple[Item, ...], bool]:
    """What is inside, sorted by kind and name, and whether it comes from the SPDX document.

    Raises:
        InputError: the SPDX document is there and cannot be read.
    """
    path = folder / SPDX
    known = tuple(_of_manifest(manifest))
    found = tuple(_of_spdx(path, {item.sha256: item for item in known})) if path.is_file() else known
    return tuple(sorted(found, key=lambda item: (item.kind, item.name, item.version))), path.is_file()


def _of_manifest(manifest: Manifest) -> Iterator[Item]:
    for deb in manifest.packages:
        yield Item("deb", deb.name, deb.version, deb.source_package, "", deb.size, deb.sha256)
    for wheel in manifest.wheels:
        yield Item("wheel", wheel.name, wheel.version, "", "", wheel.size, wheel.sha256)


def _of_spdx(path: Path, known: dict[str, Item]) -> Iterator[Item]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(document, dict) or not isinstance(document.get("packages"), list):
            raise ValueError("it has no list of packages")
        for package in document["packages"]:
            if package["SPDXID"] != _IMAGE:
                yield _of_package(package, known)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        why = f"{type(error).__name__}: {error}" if isinstance(error, KeyError) else str(error)
        remedy = "run `lichen build PROFILE`, or remove the file"
        raise InputError(Problem("the bill of materials cannot be read", str(path), why, remedy)) from error


def _of_package(package: dict[str, Any], known: dict[str, Item]) -> Item:
    digests = {one["algorithm"]: one["checksumValue"] for one in package.get("checksums", ())}
    digest = str(digests.get("SHA256", ""))
    same = known.get(digest)
    kind = _KIND.match(package["SPDXID"])
    licences = (str(package.get(key, "")) for key in ("licenseConcluded", "licenseDeclared"))
    return Item(
        kind=kind[1] if kind else "other",
        name=str(package["name"]),
        version=str(package.get("versionInfo", "")),
        source=same.source if same else "",
        licence=next((licence for licence in licences if licence not in _UNKNOWN), ""),
        size=same.size if same else None,
        sha256=digest,
    )
