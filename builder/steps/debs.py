"""What packages of the store tell about themselves: their changelogs, and the options that a kernel was built with.

What was read once is kept with the store, so that a large package is unpacked once only.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import tarfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import IO, cast

from debian.changelog import Changelog, ChangelogParseError
from debian.debian_support import Version

from builder.data.comparison import News
from builder.data.lock import Deb
from builder.foundation.process import Runner
from builder.foundation.store import MissingObjectError, Store

LINES = 12  # of a changelog that are told for one source package
_READ = 1 << 20  # bytes of a changelog that are read: its newest part stands first
_ENTRIES = 200  # of a changelog that are looked at
_NAMES = re.compile(r"\./usr/share/doc/(?P<package>[^/]+)/changelog(?P<debian>\.Debian)?(?P<build>\.[a-z0-9]+)?\.gz")
_DOC_LINK = re.compile(r"\./usr/share/doc/(?P<package>[^/]+)")
_CONFIG = re.compile(r"\./boot/config-[^/]+|\.(/usr)?/lib/modules/[^/]+/config")
_OPTION = re.compile(r"(?P<set>CONFIG_\w+)=(?P<value>.*)|# (?P<unset>CONFIG_\w+) is not set")
_CVE = re.compile(r"CVE-[0-9]{4}-[0-9]{4,}")

Member = Callable[[tarfile.TarInfo, IO[bytes] | None], bool]


class UnreadError(Exception):
    """A package does not tell what was asked, for the reason that is the message."""


def news(runner: Runner, store: Store, old: Deb, new: Deb, others: Mapping[str, Deb]) -> News:
    """What the changelog of a package that moved from ``old`` to ``new`` tells in between.

    Args:
        others: packages by name, for those whose changelog lies in another one's folder.
    """
    told = News(source=new.source_package, packages=(new.name,), old=old.version, new=new.version)
    try:
        older = Version(new.version) < Version(old.version)
        newest, oldest = (old, new) if older else (new, old)
        told = told.model_copy(update={"older": older})
        text = _changelog(runner, store, newest, others)
        lines = _between(text, Version(oldest.version), Version(newest.version))
    except (UnreadError, ValueError) as reason:  # not every text in a lock is a version
        return told.model_copy(update={"absent": str(reason)})
    cves = tuple(sorted({cve for line in lines for cve in _CVE.findall(line)}))
    return told.model_copy(update={"lines": lines[:LINES], "more": max(0, len(lines) - LINES), "cves": cves})


def _between(text: str, old: Version, new: Version) -> tuple[str, ...]:
    """Lines of the entries newer than ``old`` and not newer than ``new``, each entry below its version."""
    changelog = Changelog()
    # Up to the first line that is none of a changelog: very old entries have other forms.
    with contextlib.suppress(ChangelogParseError):
        changelog.parse_changelog(text, max_blocks=_ENTRIES, allow_empty_author=True)
    lines: list[str] = []
    for entry in changelog:
        try:
            inside = old < entry.version <= new
        except ValueError:
            continue
        if inside:
            lines.append(str(entry.version))
            lines += [line.rstrip() for line in entry.changes() if line.strip()]
    if not lines:
        raise UnreadError("its changelog has no entry between the two versions")
    return tuple(lines)


def _changelog(runner: Runner, store: Store, deb: Deb, others: Mapping[str, Deb]) -> str:
    found = _kept_changelog(runner, store, deb)
    if "elsewhere" in found and (other := others.get(found["elsewhere"])):
        found = _kept_changelog(runner, store, other)
    if "text" not in found:
        raise UnreadError("the package has no changelog")
    return found["text"]


def _kept_changelog(runner: Runner, store: Store, deb: Deb) -> dict[str, str]:
    """``text``, or ``elsewhere``: the package whose folder has it; neither when there is none."""
    found: dict[str, str] = json.loads(_derived(store, "changelog", deb, partial(_read_changelog, runner, store, deb)))
    return found


def _read_changelog(runner: Runner, store: Store, deb: Deb) -> str:
    texts: dict[str, str] = {}
    links: list[str] = []

    def look(member: tarfile.TarInfo, stream: IO[bytes] | None) -> bool:
        link, match = _DOC_LINK.fullmatch(member.name), _NAMES.fullmatch(member.name)
        if member.issym() and link and link["package"] == deb.name:
            links.append(member.linkname.rpartition("/")[2])
        elif stream and match and match["package"] == deb.name:
            texts[member.name.rpartition("/")[2]] = gzip.GzipFile(fileobj=stream).read(_READ).decode(errors="replace")
        return False

    _walk(runner, store, deb, look)
    # changelog.gz is the upstream authors' where there is Debian's own; changelog.Debian.amd64.gz tells of a rebuild.
    debian = sorted((name for name in texts if ".Debian" in name), key=len, reverse=True)
    names = debian or [name for name in texts if name == "changelog.gz"]
    if names:
        return json.dumps({"text": "\n".join(texts[name] for name in names)})
    return json.dumps({"elsewhere": links[0]} if links else {})


def kernel_options(runner: Runner, store: Store, debs: Sequence[Deb]) -> dict[str, str]:
    """Every option that the kernel among the packages was built with and its value; ``n`` for what is not set.

    Raises:
        UnreadError: there is no kernel, or its package is not in the store.
    """
    options: dict[str, str] = {}
    why = "there is no kernel"
    for deb in debs:
        if deb.name.startswith("linux-image-"):
            # Among them is the package that only depends on the newest kernel.
            why = "no package of the kernel has its configuration"
            text = _derived(store, "kernel-config", deb, partial(_read_config, runner, store, deb))
            options.update(parse_options(text))
    if not options:
        raise UnreadError(why)
    return options


def parse_options(text: str) -> dict[str, str]:
    """Options of a kernel configuration."""
    found = (_OPTION.fullmatch(line) for line in text.splitlines())
    return {match["set"] or match["unset"]: match["value"] or "n" for match in found if match}


def _read_config(runner: Runner, store: Store, deb: Deb) -> str:
    texts: list[str] = []

    def look(member: tarfile.TarInfo, stream: IO[bytes] | None) -> bool:
        if stream and _CONFIG.fullmatch(member.name):
            texts.append(stream.read(_READ).decode(errors="replace"))
        return bool(texts)

    _walk(runner, store, deb, look)
    return "".join(texts)


def _derived(store: Store, kind: str, deb: Deb, make: Callable[[], str]) -> str:
    if not store.has(deb.sha256, deb.size):
        raise UnreadError(f"{deb.name} {deb.version} is not in the store: run `lichen fetch`")
    return store.derived(kind, deb.sha256, make)


def _walk(runner: Runner, store: Store, deb: Deb, look: Member) -> None:
    """Show each file of a package to ``look`` until that returns True.

    Raises:
        UnreadError: it is no package that dpkg-deb can read, or its bytes in the store had changed.
    """
    try:
        path = store.verified(deb.sha256, deb.size)
    except MissingObjectError as error:
        raise UnreadError(f"{deb.name} {deb.version} was changed in the store: run `lichen fetch`") from error
    try:
        with (
            runner.started(["dpkg-deb", "--fsys-tarfile", path]) as process,
            tarfile.open(fileobj=cast(IO[bytes], process.stdout), mode="r|") as files,
        ):
            for member in files:
                if look(member, files.extractfile(member) if member.isfile() else None):
                    return
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise UnreadError(f"the package cannot be read: {error}") from error
