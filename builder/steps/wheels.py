"""Choosing Python wheels: uv resolves, with hashes, for any architecture.

Distributions that the image has from Debian packages take part in the resolution as what they are: for each, an
empty wheel with Debian's version is laid before uv and demanded by constraint. So uv checks that everything else
fits Debian's versions, and its own words say when it does not.
"""

from __future__ import annotations

import re
import tempfile
import tomllib
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version
from uv import find_uv_bin

from builder.data.lock import Wheel
from builder.foundation.errors import InputError, Problem
from builder.foundation.process import ProcessError, Runner

LOCAL = "debian"  # local version label of what Debian provides; no index has it


def upstream_version(debian: str) -> str:
    """The upstream version within a Debian version: ``1:2.6.0+dfsg-7`` is ``2.6.0``.

    Raises:
        InputError: what remains is no Python version (PEP 440).
    """
    text = debian.partition(":")[2] or debian
    text = text.rpartition("-")[0] or text
    text = re.sub(r"[+~.]?(dfsg|ds|repack|really).*$", "", text).replace("~", "")
    try:
        return str(Version(text))
    except InvalidVersion as error:
        remedy = "remove it from python.provided and require the wheel instead"
        raise InputError(Problem(f"Debian's version {debian} is no Python version", "", str(error), remedy)) from error


@dataclass(frozen=True)
class WheelTarget:
    """What wheels are for: Python version (``3.13``), uv's name of the platform, and their use in the lock."""

    python: str
    platform: str
    use: Literal["image", "tools"]


@dataclass(frozen=True)
class WheelSource:
    """Where wheels come from: base URLs of package indices, the first one wins, and uv's own cache."""

    indices: Sequence[str]
    cache: Path


def resolve_wheels(
    runner: Runner, requirements: Sequence[str], provided: Mapping[str, str], target: WheelTarget, source: WheelSource
) -> list[Wheel]:
    """The wheels that satisfy ``requirements`` beside what Debian packages provide.

    Args:
        provided: distribution name to its Debian version.

    Raises:
        InputError: uv's own reason: no such package, no wheel for the platform, or versions that do not fit.
    """
    if not requirements:
        return []
    with tempfile.TemporaryDirectory(prefix="lichen-wheels-") as name:
        folder = Path(name)
        versions = {canonicalize_name(k): f"{upstream_version(v)}+{LOCAL}" for k, v in provided.items()}
        for distribution, version in versions.items():
            _empty_wheel(folder, distribution, version)
        (folder / "requirements.in").write_text("".join(f"{line}\n" for line in requirements))
        (folder / "constraints.txt").write_text("".join(f"{k}=={v}\n" for k, v in sorted(versions.items())))
        command: list[str | Path] = [find_uv_bin(), "pip", "compile", "requirements.in", "--quiet", "--no-config"]
        command += ["--format", "pylock.toml", "--output-file", "pylock.toml", "--only-binary", ":all:"]
        command += ["--python-version", target.python, "--python-platform", target.platform]
        command += ["--constraint", "constraints.txt", "--find-links", folder, "--cache-dir", source.cache]
        for number, index in enumerate(source.indices):
            command += ["--extra-index-url" if number else "--index-url", index]
        try:
            runner.run(command, cwd=folder)
        except ProcessError as error:
            why = error.completed.stderr.strip()
            remedy = "relax or replace the requirement; wheels are needed, nothing is compiled"
            where = f"Python {target.python} on {target.platform}"
            raise InputError(Problem("the Python requirements cannot be resolved", where, why, remedy)) from error
        document = tomllib.loads((folder / "pylock.toml").read_text())
    return [_wheel(entry, target.use) for entry in document["packages"] if entry["version"].partition("+")[2] != LOCAL]


def _empty_wheel(folder: Path, distribution: str, version: str) -> None:
    stem = f"{distribution.replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


def _wheel(entry: Mapping[str, Any], use: Literal["image", "tools"]) -> Wheel:
    # uv lists only wheels that the platform takes, the best one first.
    file = entry["wheels"][0]
    filename = file.get("name") or file["url"].rpartition("/")[2].partition("#")[0]
    return Wheel(
        name=entry["name"],
        version=entry["version"],
        filename=filename,
        size=file["size"],
        sha256=file["hashes"]["sha256"],
        uses=(use,),
    )
