"""Is an image folder whole, and do its papers agree? Looks at the folder alone; changes nothing, runs nothing of it."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from spdx_tools.spdx.parser.error import SPDXParsingError
from spdx_tools.spdx.parser.jsonlikedict.json_like_dict_parser import JsonLikeDictParser

from builder.data.bill import CYCLONEDX, SPDX
from builder.data.contents import CONTENTS, FileEntry, read_contents
from builder.data.lock import Deb, LockedModel, Wheel
from builder.data.manifest import ENVELOPE, LOG, MANIFEST, PROVENANCE, SIGNATURE, SUMS, Manifest
from builder.foundation.digest import digest_file
from builder.foundation.errors import InputError, Problem

_LINE = re.compile(r"(?P<digest>[0-9a-f]{64})  (?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)")
_UNLISTED = (SUMS, SIGNATURE, ENVELOPE, LOG)
# What reading JSON of a stranger raises when it is damaged, has another shape, or is nested without end.
_MALFORMED = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
_AGAIN = "build the image again, or have the folder sent again"


def read_sums(folder: Path) -> dict[str, str]:
    """Name and SHA-256 of each file that ``SHA256SUMS`` lists.

    Raises:
        InputError: there is none, or a line is no name of a file of the folder.
    """
    path = folder / SUMS
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(Problem("this is no image folder", str(path), str(error), _AGAIN)) from error
    found = {}
    for number, line in enumerate(lines, start=1):
        match = _LINE.fullmatch(line)
        if not match:
            where = f"{path}:{number}"
            raise InputError(Problem("not a line of checksums", where, "wanted DIGEST, two blanks, NAME", _AGAIN))
        found[match["name"]] = match["digest"]
    return found


def file_problems(folder: Path, sums: Mapping[str, str]) -> Iterator[Problem]:
    """Files that are missing, changed, or not listed."""
    for name in (MANIFEST, PROVENANCE, CONTENTS, SPDX, CYCLONEDX):
        if name not in sums:
            yield Problem(f"{SUMS} does not list {name}", str(folder / SUMS), "every image has one", _AGAIN)
    for name, digest in sorted(sums.items()):
        path = folder / name
        try:
            # A link, or a device, is nothing to be hashed.
            regular = stat.S_ISREG(path.lstat().st_mode)
            actual = digest_file(path) if regular else None
        except FileNotFoundError:
            yield Problem("a file is missing", str(path), f"{SUMS} lists it", _AGAIN)
            continue
        except OSError as error:
            yield Problem("a file cannot be read", str(path), error.strerror or str(error), _AGAIN)
            continue
        if actual is None:
            yield Problem("this is no regular file", str(path), f"{SUMS} lists it", _AGAIN)
        elif actual != digest:
            yield Problem("a file was changed", str(path), f"its SHA-256 is {actual}, {SUMS} says {digest}", _AGAIN)
    for path in sorted(folder.iterdir()):
        if path.name not in sums and path.name not in _UNLISTED:
            yield Problem("a file is not listed", str(path), f"{SUMS} does not know it", "remove it")


def manifest_problems(folder: Path, manifest: Manifest, sums: Mapping[str, str]) -> Iterator[Problem]:
    """Where manifest and checksums disagree."""
    for name, artefact in sorted(manifest.artefacts.items()):
        if sums.get(name) != artefact.sha256:
            why = f"{MANIFEST} says {artefact.sha256}, {SUMS} {sums.get(name, 'nothing')}"
            yield Problem(f"the manifest tells of another {name}", str(folder / MANIFEST), why, _AGAIN)


def provenance_problems(folder: Path, manifest: Manifest, sums: Mapping[str, str]) -> Iterator[Problem]:
    """Where the provenance speaks of other files, or of another lock, than there are."""
    path = folder / PROVENANCE
    try:
        statement = json.loads(path.read_text(encoding="utf-8"))
        subjects = {item["name"]: item["digest"]["sha256"] for item in statement["subject"]}
        lock = statement["predicate"]["buildDefinition"]["externalParameters"]["lock"]
    except (OSError, *_MALFORMED) as error:
        yield Problem("the provenance cannot be read", str(path), f"{type(error).__name__}: {error}", _AGAIN)
        return
    wanted = {name: digest for name, digest in sums.items() if name != PROVENANCE}
    for name in sorted({*wanted, *subjects}):
        if wanted.get(name) != subjects.get(name):
            why = f"it says {subjects.get(name, 'nothing')}, {SUMS} {wanted.get(name, 'nothing')}"
            yield Problem(f"the provenance is of another {name}", str(path), why, _AGAIN)
    if lock != manifest.lock:
        why = f"it says {lock}, {MANIFEST} {manifest.lock}"
        yield Problem("the provenance is of another lock", str(path), why, _AGAIN)


def read_inside(folder: Path) -> list[FileEntry]:
    """The list of the root file system's files.

    Raises:
        InputError: it is damaged.
    """
    return list(read_contents(folder / CONTENTS))


def read_bill(folder: Path) -> dict[str, Any]:
    """The SPDX document, parsed by SPDX's library too.

    Raises:
        InputError: it is damaged.
    """
    path = folder / SPDX
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        JsonLikeDictParser().parse(document)
    except (OSError, *_MALFORMED) as error:
        raise InputError(Problem("the bill of materials cannot be read", str(path), str(error), _AGAIN)) from error
    except SPDXParsingError as error:
        why = "\n".join(error.get_messages()[:3])
        raise InputError(Problem("the bill of materials is no SPDX document", str(path), why, _AGAIN)) from error
    return dict(document)


def bill_problems(folder: Path, bill: Mapping[str, Any], manifest: Manifest) -> Iterator[Problem]:
    """Packages and wheels that manifest and bills of materials do not agree on."""
    listed = {_sha256(package) for package in bill.get("packages", ())}
    files: list[Deb | Wheel | LockedModel] = [*manifest.packages, *manifest.wheels, *manifest.models]
    for file in files:
        if file.sha256 not in listed:
            why = f"{MANIFEST} has {file.name}, SHA-256 {file.sha256}"
            yield Problem("a package is not in the bill of materials", str(folder / SPDX), why, _AGAIN)
    path = folder / CYCLONEDX
    try:
        other = json.loads(path.read_text(encoding="utf-8"))
        found = {item.get("purl") for item in other["components"]}
    except (OSError, *_MALFORMED) as error:
        yield Problem("the bill of materials cannot be read", str(path), f"{type(error).__name__}: {error}", _AGAIN)
        return
    for package in bill.get("packages", ()):
        urls = {item["referenceLocator"] for item in package.get("externalRefs", ())}
        if urls - found and not _is_tool(package):
            yield Problem("the bills of materials differ", str(path), f"{', '.join(urls)} is in one only", _AGAIN)


def _is_tool(package: Mapping[str, Any]) -> bool:
    return str(package.get("SPDXID", "")).startswith("SPDXRef-tool-")


def _sha256(package: Mapping[str, Any]) -> str | None:
    sums = {item["algorithm"]: item["checksumValue"] for item in package.get("checksums", ())}
    return sums.get("SHA256")
