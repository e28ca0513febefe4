"""Choosing Python wheels: uv resolves, with hashes, for any architecture.

Distributions that the image has from Debian packages take part in the resolution as what they are: for each, an
empty wheel with Debian's version is laid before uv and demanded by constraint. So uv checks that everything else
fits Debian's versions, and its own words say when it does not.
"""

from __future__ import annotations

import errno
import os
import re
import sys
import tomllib
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version
from uv import find_uv_bin

from builder.data.judgement import CudaLimit
from builder.data.lock import Wheel
from builder.foundation.atomic import disk_error
from builder.foundation.errors import InputError, LichenError, Problem
from builder.foundation.process import ProcessError, Runner
from builder.foundation.scratch import scratch_folder
from builder.foundation.transport import Limits, PassingError, RefusedError, connect, get

_PYLOCK = ("--format", "pylock.toml", "--output-file", "pylock.toml")
_ORIGINS = ("--format", "requirements.txt", "--no-header", "--no-annotate", "--emit-index-annotation")
_NO_EXTRA = re.compile(r"The package `([^`=]+)==([^`]+)` does not have an extra named `([^`]+)`")
LOCAL = "debian"  # local version label of what Debian provides; no index has it
# Settings of uv that say how to reach an index. All others could change what is chosen, so uv does not see them.
TRANSPORT = ("UV_HTTP_", "UV_NATIVE_TLS", "UV_SYSTEM_CERTS", "UV_INSECURE_HOST", "UV_KEYRING_PROVIDER")


def upstream_version(debian: str, distribution: str = "") -> str:
    """The upstream version within a Debian version: ``1:2.6.0+dfsg-7`` is ``2.6.0``.

    Args:
        distribution: what has this version, for the error.

    Raises:
        InputError: what remains is no Python version (PEP 440).
    """
    text = debian.partition(":")[2] or debian
    text = text.rpartition("-")[0] or text
    # 2.0+really1.9 is 1.9, under a number that Debian's users upgrade to.
    text = re.sub(r"^.*[+~.]really", "", text)
    text = re.sub(r"[+~.]?(dfsg|ds|repack)[0-9.]*(?=$|[+~])", "", text).replace("~", "")
    try:
        # What stands behind a plus is Debian's or a snapshot's own: +git20240101, +b2.
        return Version(text).public
    except InvalidVersion as error:
        remedy = "remove it from python.provided and require the wheel instead"
        what = f"Debian's version {debian} is no Python version"
        raise InputError(Problem(what, distribution, str(error), remedy)) from error


@dataclass(frozen=True)
class WheelTarget:
    """What wheels are for: Python version (``3.13``), uv's name of the platform, and their use in the lock.

    Attributes:
        cuda: what the driver beside them allows; uv then chooses the newest releases that fit it.
    """

    python: str
    platform: str
    use: Literal["image", "tools"]
    cuda: CudaLimit | None = None


@dataclass(frozen=True)
class WheelSource:
    """Where wheels come from: base URLs of package indices, the first one that has a distribution wins.

    Attributes:
        cache: uv's own.
        vendors: the indices of repositories, by the repository's name; they are asked before all others.
    """

    indices: Sequence[str]
    cache: Path
    vendors: Mapping[str, str] = field(default_factory=dict)


def resolve_wheels(
    runner: Runner,
    requirements: Sequence[str],
    provided: Mapping[str, str],
    target: WheelTarget,
    source: WheelSource,
    asked_by: Mapping[str, str] | None = None,
) -> list[Wheel]:
    """The wheels that satisfy ``requirements`` beside what Debian packages provide.

    Args:
        provided: distribution name to its Debian version.
        asked_by: for each requirement, where a person wrote it.

    Raises:
        InputError: uv's own reason: no such package, no wheel for the platform, or versions that do not fit.
        LichenError: an index cannot be used.
    """
    if not requirements:
        return []
    # Beside uv's cache: uv refuses to work inside of it.
    with scratch_folder(source.cache.with_name("wheels")) as folder:
        versions = {canonicalize_name(k): f"{upstream_version(v, k)}+{LOCAL}" for k, v in provided.items()}
        for distribution, version in versions.items():
            _empty_wheel(folder, distribution, version)
        (folder / "requirements.in").write_text("".join(f"{line}\n" for line in requirements))
        constraints = [f"{k}=={v}" for k, v in sorted(versions.items())]
        constraints += target.cuda.constraints if target.cuda else ()
        (folder / "constraints.txt").write_text("".join(f"{line}\n" for line in constraints))
        environment = _environment(os.environ)
        try:
            told = runner.run([*_command(folder, target, source), *_PYLOCK], cwd=folder, env=environment).stderr
            # pylock.toml does not tell which index a wheel is from; asked again, uv has it all in its cache.
            printed = ""
            if source.vendors:
                asked = [*_command(folder, target, source), "--quiet", *_ORIGINS]
                printed = runner.run(asked, cwd=folder, env=environment).stdout
        except ProcessError as error:
            if error.killed:
                raise
            raise _explain(error.completed.stderr.strip(), target, source, asked_by or {}) from error
        _require_extras(told, target, asked_by or {})
        document = tomllib.loads((folder / "pylock.toml").read_text())
    entries = [entry for entry in document["packages"] if entry["version"].partition("+")[2] != LOCAL]
    origins = _origins(printed, source.vendors)
    return [_wheel(entry, target.use, origins.get(entry["name"])) for entry in entries]


def _command(folder: Path, target: WheelTarget, source: WheelSource) -> list[str | Path]:
    command: list[str | Path] = [find_uv_bin(), "pip", "compile", "requirements.in"]
    command += ["--no-config", "--system-certs"]
    command += ["--only-binary", ":all:"]
    # The interpreter only runs uv's queries; without it uv would download one of the target's version.
    command += ["--python", sys.executable, "--no-python-downloads"]
    command += ["--python-version", target.python, "--python-platform", target.platform]
    command += ["--constraint", "constraints.txt", "--find-links", folder, "--cache-dir", source.cache]
    # uv asks the default index last, whatever else is named.
    *first, last = [*source.vendors.values(), *source.indices]
    for index in first:
        command += ["--index", index]
    return [*command, "--default-index", last]


def _origins(printed: str, vendors: Mapping[str, str]) -> dict[str, str]:
    """For each distribution from a vendor's index the vendor's name, from what uv prints as :data:`_ORIGINS`."""
    # uv leaves out user and password.
    names = {re.sub("//[^/@]*@", "//", url): name for name, url in reversed(list(vendors.items()))}
    found = re.findall(r"^([a-z0-9-]+)==\S+\n +# from (\S+?)/*$", printed, re.M)
    return {distribution: names[url] for distribution, url in found if url in names}


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if not name.startswith("UV_") or name.startswith(TRANSPORT)}


def _explain(said: str, target: WheelTarget, source: WheelSource, asked_by: Mapping[str, str]) -> LichenError:
    if os.strerror(errno.ENOSPC) in said:
        return disk_error(OSError(errno.ENOSPC, ""), source.cache)
    if "Failed to fetch" in said:
        remedy = "check the network, or name another index with `--index URL`"
        if guilty := [name for name, url in source.vendors.items() if url in said]:
            options = " and ".join(f"`--index {name}=URL`" for name in guilty)
            remedy = f"check the network, or name another place with {options}"
        asked = ", ".join([*source.vendors.values(), *source.indices])
        return LichenError(Problem("the index of wheels cannot be used", asked, said, remedy))
    platform = f"Python {target.python} on {target.platform}"
    places = [f"{line}: {place}" for line, place in asked_by.items() if _is_named(line, said)]
    limit = target.cuda
    remedy = "relax or replace the requirement; wheels are needed, nothing is compiled"
    if f"+{LOCAL}" in said:
        remedy = f"relax or replace the requirement; a version with +{LOCAL} is that of the Debian package in the image"
    elif re.search("no (usable )?wheels|no wheels with a matching", said):
        remedy = "choose a version with a wheel for this platform, or take it from Debian (python.provided)"
    if limit and any(line in said for line in limit.constraints):
        said = f"{said}\n{limit.why}"
        remedy = f"relax or replace the requirement; what would fit: {limit.remedy}"
    return InputError(
        Problem("the Python requirements cannot be resolved", "; ".join([*places, platform]), said, remedy)
    )


def _require_extras(told: str, target: WheelTarget, asked_by: Mapping[str, str]) -> None:
    """Refuse what uv only warns of: a release without an extra that a person asked for, and so without what it brings.

    uv goes back to such a release when all newer ones are forbidden: ``jax[cuda13]`` beside a driver for CUDA 12 would
    be a JAX without CUDA.

    Args:
        told: what uv said when it had resolved all.

    Raises:
        InputError: for each such extra.
    """
    problems = []
    for name, version, extra in _NO_EXTRA.findall(told):
        places = [f"{line}: {place}" for line, place in asked_by.items() if _has_extra(line, name, extra)]
        if not places:
            continue
        why, remedy = "it is the newest release that fits all requirements", "relax or replace the requirement"
        if target.cuda and target.cuda.constraints:
            why, remedy = f"{why}; {target.cuda.why}", f"{remedy}; what would fit: {target.cuda.remedy}"
        problems.append(Problem(f"{name} {version} has no extra {extra!r}", "; ".join(places), why, remedy))
    if problems:
        raise InputError(problems)


def _has_extra(line: str, name: str, extra: str) -> bool:
    """Whether a line of requirements asks for an extra of a distribution."""
    try:
        asked = Requirement(line)
    except InvalidRequirement:
        # uv has read it: an option, or something with a comment.
        return False
    return canonicalize_name(asked.name) == name and canonicalize_name(extra) in map(canonicalize_name, asked.extras)


def _is_named(requirement: str, said: str) -> bool:
    name = re.match(r"[A-Za-z0-9._-]*", requirement)
    pattern = re.sub(r"[-_.]+", "[-_.]+", canonicalize_name(name[0] if name else ""))
    return bool(pattern) and re.search(rf"(?<![\w.-]){pattern}(?![\w-])", said, re.I) is not None


def _empty_wheel(folder: Path, distribution: str, version: str) -> None:
    stem = f"{distribution.replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


def _wheel(entry: Mapping[str, Any], use: Literal["image", "tools"], repository: str | None) -> Wheel:
    # uv lists only wheels that the platform takes, the best one first.
    file = entry["wheels"][0]
    filename = file.get("name") or unquote(urlsplit(file["url"]).path.rpartition("/")[2])
    sha256 = file.get("hashes", {}).get("sha256")
    if sha256 is None:
        why = "only a file with a known hash can be locked"
        remedy = "name another index with `--index URL`"
        raise LichenError(Problem("the index tells no SHA-256 of a wheel", filename, why, remedy))
    return Wheel(
        name=entry["name"],
        version=entry["version"],
        filename=filename,
        # Indices in plain HTML tell no sizes.
        size=file.get("size") or _size(file["url"]),
        sha256=sha256,
        uses=(use,),
        repository=repository,
    )


def _size(url: str) -> int:
    """How many bytes the server says the file has.

    Raises:
        LichenError: it does not say.
    """
    try:
        if url.startswith("file:"):
            return Path(url2pathname(urlsplit(url).path)).stat().st_size
        with connect() as session, get(session, url, {"Accept-Encoding": "identity"}, Limits()) as response:
            return int(response.headers["Content-Length"])
    except (RefusedError, PassingError, KeyError, ValueError, OSError) as error:
        remedy = "name another index with `--index URL`"
        raise LichenError(Problem("the index tells no size of a wheel", url, str(error), remedy)) from error
