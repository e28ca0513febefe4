"""Whose is each file of an image? mkosi's inventory of the root file system, joined with who says it brought what.

dpkg's lists name the files of Debian packages, RECORD those of wheels; overlays and models are known to the caller.
"""

from __future__ import annotations

import contextlib
import csv
import os.path
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.util import source_from_cache
from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from builder.data.contents import FileEntry
from builder.data.dpkg import installed
from builder.data.lock import Deb, Lock
from builder.foundation.digest import digest_file
from builder.foundation.errors import LichenError, Problem

# What the template's inventory.finalize leaves in mkosi's output folder: a list of all files, dpkg's database.
INVENTORY = "inventory.jsonl"
STATUS = "dpkg-status"
_DPKG = Path("var/lib/dpkg")
_DIST_INFO = re.compile(r"(?P<name>[^/]+)-(?P<version>[^/-]+)\.dist-info")


def with_owners(entries: Iterable[FileEntry], owners: Sequence[Mapping[str, str]]) -> list[FileEntry]:
    """The entries with their owners: that of the first mapping (path to owner) that knows the path.

    Byte code belongs to whom its source belongs to.
    """
    found = []
    for entry in entries:
        owner = _owner(entry.path, owners)
        if owner is None and entry.path.endswith(".pyc"):
            with contextlib.suppress(ValueError):  # not in a __pycache__
                owner = _owner(source_from_cache(entry.path), owners)
        found.append(entry.model_copy(update={"owner": owner, "sha1": None}) if owner else entry)
    return found


def _owner(path: str, owners: Sequence[Mapping[str, str]]) -> str | None:
    return next((known[path] for known in owners if path in known), None)


def deb_owners(root: Path) -> dict[str, str]:
    """Path to ``deb:NAME`` for all that the installed packages of a tree brought, dpkg's own notes on them included."""
    aliases = _aliases(root)
    diversions = _diversions(root)
    owners: dict[str, str] = {}
    for note in (root / _DPKG / "info").glob("*.*"):
        owners[f"/{note.relative_to(root)}"] = f"deb:{note.name.rpartition('.')[0].partition(':')[0]}"
    for listing in sorted((root / _DPKG / "info").glob("*.list")):
        package = listing.name.removesuffix(".list").partition(":")[0]
        for line in listing.read_bytes().decode(errors="backslashreplace").splitlines():
            diverted, by = diversions.get(line, (line, package))
            owners.setdefault(_canonical(line if by == package else diverted, aliases), f"deb:{package}")
    return owners


def listed_owners(listing: Path, package: str) -> dict[str, str]:
    """Path to ``deb:NAME`` for a package that no base tree holds: what its list names, and dpkg's own notes on it."""
    paths = listing.read_text(encoding="utf-8").splitlines()
    notes = ("list", "md5sums", "postinst", "postrm", "preinst", "prerm")
    paths += [f"/{_DPKG}/info/{package}.{note}" for note in notes]
    return dict.fromkeys(paths, f"deb:{package}")


def _aliases(root: Path) -> dict[str, str]:
    """Links in the root folder, such as ``/lib``, and the folders they lead to: packages may name either."""
    return {f"/{path.name}": os.path.join("/", path.readlink()) for path in root.iterdir() if path.is_symlink()}


def _canonical(path: str, aliases: Mapping[str, str]) -> str:
    first, _, rest = path[1:].partition("/")
    folder = aliases.get(f"/{first}")
    return f"{folder}/{rest}" if folder and rest else path


def _diversions(root: Path) -> dict[str, tuple[str, str]]:
    """Path to where other packages' file of that name lies instead, and the package that wanted it so."""
    path = root / _DPKG / "diversions"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return {lines[at]: (lines[at + 1], lines[at + 2]) for at in range(0, len(lines) - 2, 3)}


def wheel_owners(root: Path, prefix: str) -> dict[str, str]:
    """Path to ``wheel:NAME`` for all that wheels brought into the environment ``prefix``, from the RECORD of each."""
    owners: dict[str, str] = {}
    for record in sorted((root / prefix[1:]).glob("lib/python*/site-packages/*.dist-info/RECORD")):
        match = _DIST_INFO.fullmatch(record.parent.name)
        if match:
            folder = f"/{record.parent.parent.relative_to(root)}"
            with record.open(encoding="utf-8", newline="") as stream:
                for path, *_ in csv.reader(stream):
                    owner = f"wheel:{canonicalize_name(match['name'])}"
                    owners.setdefault(os.path.normpath(os.path.join(folder, path)), owner)
    return owners


def require_wheels(entries: Iterable[FileEntry], lock: Lock, prefix: str) -> None:
    """Check that exactly the locked wheels are installed in the Python environment ``prefix`` of the image.

    Raises:
        LichenError: names every distribution that is missing, not locked, or of another version.
    """
    locked: dict[str, str] = {
        canonicalize_name(wheel.name): wheel.version for wheel in lock.wheels if "image" in wheel.uses
    }
    installed: dict[str, str] = dict(_distributions(entries, prefix))
    problems = [
        Problem(
            f"installed and locked wheels differ: {name}",
            prefix,
            f"locked {locked.get(name, 'nothing')}, installed {installed.get(name, 'nothing')}",
            "report this: an overlay's file lies where wheels are, or uv installed something else",
        )
        for name in sorted({*locked, *installed})
        if not _same_version(locked.get(name), installed.get(name))
    ]
    if problems:
        raise LichenError(problems)


def _distributions(entries: Iterable[FileEntry], prefix: str) -> Iterator[tuple[str, str]]:
    place = re.compile(rf"{re.escape(prefix)}/lib/python[0-9.]+/site-packages/{_DIST_INFO.pattern}")
    for entry in entries:
        match = place.fullmatch(entry.path)
        if match:
            yield canonicalize_name(match["name"]), match["version"]


def _same_version(one: str | None, other: str | None) -> bool:
    if one is None or other is None:
        return False
    try:
        return Version(one.replace("_", "-")) == Version(other.replace("_", "-"))
    except InvalidVersion:
        return one == other


def require_database(entries: Iterable[FileEntry], base: Path, status: Path, built: Iterable[Deb]) -> None:
    """Check that in the image exactly the packages of its base tree and those built for it are installed.

    Args:
        base: the tree that holds exactly the locked packages.
        status: copy of the image's package database.
        built: what was laid on top of the base tree.

    Raises:
        LichenError: something that came later installed or removed packages.
    """
    path = f"/{_DPKG}/status"
    found = next((entry.sha256 for entry in entries if entry.path == path), None)
    wanted = installed((base / path[1:]).read_text(encoding="utf-8"))
    wanted |= {deb.name: (deb.version, deb.architecture) for deb in built}
    there = installed(status.read_text(encoding="utf-8")) if found and found == digest_file(status) else {}
    if there != wanted:
        wrong = sorted(name for name in {*there, *wanted} if there.get(name) != wanted.get(name))
        why = f"it differs from what was installed in {', '.join(wrong[:8])}" if there else "it is gone"
        remedy = "let no overlay bring files below /var/lib/dpkg, and install packages by name"
        raise LichenError(Problem("the image's package database was changed", path, why, remedy))
