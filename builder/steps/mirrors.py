"""Where this machine finds Debian's archives and wheels: from options, or from its own apt, pip and uv.

Lichen names no host itself. Parsers here take text; only the last functions of each half run tools or read files.
"""

from __future__ import annotations

import ast
import contextlib
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from uv import find_uv_bin

from builder.data.profile import Repository
from builder.foundation.errors import InputError, Problem
from builder.foundation.process import Runner

DEBIAN = "debian"
SECURITY = "debian-security"
LABELS = {"Debian": DEBIAN, "Debian-Security": SECURITY}
SCHEMES = ("http", "https", "file")
TEMPLATE = Path("usr/share/python-apt/templates/Debian.info")
APT = Path("etc/apt")
TARGETS = "$(REPO_URI) $(ORIGIN)|$(LABEL)"
# Suites of Debian itself, to tell its entries from those of others that borrow a code name (as in trixie-pgdg).
SUITE = re.compile(
    r"^(bookworm|trixie|forky|duke|sid|unstable|testing|stable|oldstable)(-updates|-security|-proposed-updates)?$"
)
ONE_LINE = re.compile(
    r"^deb(?:-src)?\s+(?:\[(?P<options>[^\]]*)\]\s*)?(?P<uri>\S+)\s+(?P<suite>\S+)(?P<components>.*)$"
)
NAMED_INDEX = re.compile(r"(?P<name>[a-z0-9][a-z0-9-]*)=(?P<url>.*)")

Mirrors = dict[str, list[str]]


@dataclass(frozen=True)
class Source:
    """One entry of apt's sources: a repository, some suites of it, and the key that signs it (when named)."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str = ""


def parse_override(override: Sequence[str]) -> Mirrors:
    """``ARCHIVE=URL`` strings, several for one archive in order of preference.

    Raises:
        InputError: some are not of that form (all of them reported).
    """
    mirrors: Mirrors = {}
    problems = []
    for text in override:
        archive, _, url = text.partition("=")
        if re.fullmatch(r"[a-z0-9][a-z0-9-]*", archive) and urlsplit(url).scheme in SCHEMES:
            _add(mirrors, archive, url)
        else:
            why = "wanted ARCHIVE=URL with an http, https or file URL"
            problems.append(Problem("not a mirror", text, why, "write `--mirror debian=URL`"))
    if problems:
        raise InputError(problems)
    return mirrors


def parse_targets(text: str) -> Mirrors:
    """Debian's archives among the lines that ``apt-get indextargets`` prints in the format :data:`TARGETS`."""
    mirrors: Mirrors = {}
    for line in text.splitlines():
        uri, _, release = line.partition(" ")
        origin, _, label = release.partition("|")
        if origin == "Debian" and label in LABELS and urlsplit(uri).scheme in SCHEMES:
            _add(mirrors, LABELS[label], uri)
    return mirrors


def parse_one_line(text: str) -> list[Source]:
    """The enabled entries of a ``sources.list`` file."""
    sources = []
    for line in text.splitlines():
        match = ONE_LINE.match(line.partition("#")[0].strip())
        if match:
            options = dict(word.partition("=")[::2] for word in (match["options"] or "").split())
            components = tuple(match["components"].split())
            sources.append(Source(match["uri"], (match["suite"],), components, options.get("signed-by", "")))
    return sources


def parse_deb822(text: str) -> list[Source]:
    """The enabled entries of a ``.sources`` file."""
    return [
        Source(
            uri,
            tuple(entry.get("suites", "").split()),
            tuple(entry.get("components", "").split()),
            entry.get("signed-by", ""),
        )
        for entry in stanzas(text)
        if entry.get("enabled", "yes").lower() not in ("no", "false", "0", "off", "without", "disable")
        for uri in entry.get("uris", "").split()
    ]


def stanzas(text: str) -> Iterator[dict[str, str]]:
    """The paragraphs of a control-like file, keys in lower case; the first of a repeated key counts."""
    fields: dict[str, str] = {}
    key = ""
    for line in [*text.splitlines(), ""]:
        if not line.strip():
            if fields:
                yield fields
            fields, key = {}, ""
        elif line[0] in " \t" and key:
            fields[key] += "\n" + line.strip()
        elif line[0] != "#" and ":" in line:
            name, _, value = line.partition(":")
            key = name.strip().lower()
            fields.setdefault(key, value.strip())


def debian_sources(sources: Iterable[Source]) -> Mirrors:
    """Debian's archives among apt's sources, judged by suite and path, since nothing signed has been read yet."""
    mirrors: Mirrors = {}
    for source in sources:
        if "main" not in source.components or urlsplit(source.uri).scheme not in SCHEMES:
            continue
        for suite in source.suites:
            archive = SECURITY if suite.endswith("-security") else DEBIAN
            named = urlsplit(source.uri).path.rstrip("/").endswith(f"/{archive}")
            if SUITE.match(suite) and (named or "debian-archive" in source.signed_by):
                _add(mirrors, archive, source.uri)
    return mirrors


def parse_template(text: str) -> Mirrors:
    """Debian's archives in python-apt's template, which Ubuntu carries to explain Debian's entries."""
    mirrors: Mirrors = {}
    for entry in stanzas(text):
        uri = entry.get("baseuri", "")
        suite = entry.get("suite", "")
        if urlsplit(uri).scheme not in SCHEMES or "/" in suite:
            continue
        if not suite.endswith("-security"):
            _add(mirrors, DEBIAN, uri)
            continue
        # The template names the security host without a path; mirrors of it have the archive in a folder.
        if not urlsplit(uri).path.strip("/"):
            _add(mirrors, SECURITY, f"{uri.rstrip('/')}/{SECURITY}")
        _add(mirrors, SECURITY, uri)
    return mirrors


def archive_mirrors(
    runner: Runner, override: Sequence[str], archives: Sequence[str], repositories: Mapping[str, Repository]
) -> Mirrors:
    """Base URLs of ``archives``, be they Debian's or a profile's repositories, the preferred one first.

    A repository is where ``override`` says, else where the profile says.

    Raises:
        InputError: as :func:`debian_mirrors`, and for a repository that nothing locates.
    """
    given = parse_override(override)
    own = [archive for archive in archives if archive in repositories]
    located = {archive: [url for url in (repositories[archive].url,) if url] for archive in own}
    located.update({archive: given[archive] for archive in own if archive in given})
    if missing := [archive for archive, urls in located.items() if not urls]:
        raise InputError([_nowhere(name) for name in missing])
    others = [archive for archive in archives if archive not in repositories]
    mirrors = debian_mirrors(runner, override, others) if others else {}
    return {**mirrors, **{archive: [url.rstrip("/") for url in urls] for archive, urls in located.items()}}


def unlocated(
    mirrors: Sequence[str], indices: Sequence[str], repositories: Mapping[str, Repository], *, wheels: bool
) -> list[Problem]:
    """What nothing locates: repositories, and their wheel indices when ``wheels`` are wanted at all.

    Args:
        mirrors, indices: as given by ``--mirror`` and ``--index``.

    Raises:
        InputError: an option is malformed.
    """
    given, indexed = parse_override(mirrors), vendor_indices(indices, repositories)
    problems = [_nowhere(name) for name, item in sorted(repositories.items()) if not item.url and name not in given]
    if wheels:
        problems += [no_index(n) for n, item in sorted(repositories.items()) if item.wheels and n not in indexed]
    return problems


def _nowhere(name: str) -> Problem:
    why = "the profile names no url for it"
    return Problem(f"nothing says where the repository {name!r} is", name, why, f"add `--mirror {name}=URL`")


def debian_mirrors(
    runner: Runner,
    override: Sequence[str] = (),
    archives: Sequence[str] = (DEBIAN, SECURITY),
    root: Path = Path("/"),
) -> Mirrors:
    """Base URLs of ``archives`` and of others that are known, the preferred one first.

    An archive named by ``override`` has just those URLs. The others come from what apt has fetched, else from apt's
    sources, else from python-apt's template of Debian.

    Args:
        override: ``ARCHIVE=URL`` strings from the command line or ``LICHEN_MIRRORS``.
        root: where ``/etc/apt`` and the template are looked for.

    Raises:
        InputError: an override is malformed, or nothing tells where some of ``archives`` are.
    """
    mirrors = parse_override(override)
    for find in (_from_targets, _from_sources, _from_template):
        if mirrors.keys() >= set(archives):
            return mirrors
        for archive, urls in find(runner, root).items():
            mirrors.setdefault(archive, urls)
    if missing := [archive for archive in archives if archive not in mirrors]:
        options = " ".join(f"--mirror {archive}=URL" for archive in missing)
        raise InputError(
            Problem(
                f"no mirror is known of the archive {' and '.join(missing)}",
                str(root / APT),
                "apt's sources do not have it, nor does python-apt's template (package python-apt-common)",
                f"add `{options}`, or set LICHEN_MIRRORS",
            )
        )
    return mirrors


def _from_targets(runner: Runner, _root: Path) -> Mirrors:
    # Prints nothing before the first `apt-get update`: only then does apt know the origin of a repository.
    done = runner.run(["apt-get", "indextargets", "--format", TARGETS, "Created-By: Packages"], check=False)
    return parse_targets(done.stdout)


def _from_sources(_runner: Runner, root: Path) -> Mirrors:
    folder = root / APT / "sources.list.d"
    sources: list[Source] = []
    for path in (root / APT / "sources.list", *sorted(folder.glob("*.list"))):
        sources += parse_one_line(_read(path))
    for path in sorted(folder.glob("*.sources")):
        sources += parse_deb822(_read(path))
    return debian_sources(source for entry in sources for source in _expanded(entry, root))


def _expanded(source: Source, root: Path) -> Iterator[Source]:
    """A source whose URI is ``mirror+file:`` once for each mirror of that file; others as they are."""
    if not source.uri.startswith("mirror+file:"):
        yield source
        return
    path = Path(urlsplit(source.uri).path)
    for line in _read(root / path.relative_to("/")).splitlines():
        words = line.partition("#")[0].split()
        if words:
            yield Source(words[0], source.suites, source.components, source.signed_by)


def _from_template(_runner: Runner, root: Path) -> Mirrors:
    return parse_template(_read(root / TEMPLATE))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _add(mirrors: Mirrors, archive: str, url: str) -> None:
    urls = mirrors.setdefault(archive, [])
    if url.rstrip("/") not in urls:
        urls.append(url.rstrip("/"))


def parse_pip_config(text: str) -> tuple[list[str], list[str]]:
    """The index that ``pip config list`` names and the further ones, in pip's precedence, only those on the network."""
    values: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition("=")
        with contextlib.suppress(ValueError, SyntaxError):
            values[key] = str(ast.literal_eval(value))

    def first(option: str) -> list[str]:
        sections = (":env:", "install", "download", "global")
        return _network(next((values[f"{s}.{option}"] for s in sections if f"{s}.{option}" in values), "").split())

    return first("index-url"), first("extra-index-url")


def parse_index_options(text: str) -> list[str]:
    """The indexes among the options that ``uv pip compile --emit-index-url`` prints."""
    return _network([line.split()[1] for line in text.splitlines() if re.match(r"--(extra-)?index-url \S", line)])


def parse_indices(override: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """What ``--index`` gives: ``URL`` for all wheels, and, by name, ``NAME=URL`` for the index of a repository.

    Raises:
        InputError: some of the latter have no such URL, or name one index twice (all of them reported).
    """
    urls: list[str] = []
    named: dict[str, str] = {}
    problems = []
    for text in override:
        match = NAMED_INDEX.fullmatch(text)
        if not match:
            urls.append(text.rstrip("/"))
        elif urlsplit(match["url"]).scheme not in SCHEMES:
            why = "wanted NAME=URL with an http, https or file URL"
            problems.append(Problem("not an index of wheels", text, why, f"write `--index {match['name']}=URL`"))
        elif match["name"] in named:
            why = f"{named[match['name']]} is named already; a repository has one index"
            problems.append(Problem("two places for one index of wheels", text, why, "leave one of them out"))
        else:
            named[match["name"]] = match["url"].rstrip("/")
    if problems:
        raise InputError(problems)
    return list(dict.fromkeys(urls)), named


def vendor_indices(override: Sequence[str], repositories: Mapping[str, Repository]) -> dict[str, str]:
    """By the repository's name, sorted, where its wheel index is: ``override`` first, else as the profile says.

    One that nothing locates is not among them; :func:`no_index` tells of it.

    Raises:
        InputError: as :func:`parse_indices`.
    """
    _, given = parse_indices(override)
    found = {}
    for name, repository in sorted(repositories.items()):
        url = given.get(name, repository.wheels)
        if repository.wheels and isinstance(url, str):
            found[name] = url.rstrip("/")
    return found


def no_index(name: str) -> Problem:
    """Nothing locates the wheel index of the repository ``name``."""
    what = f"nothing says where the wheel index of the repository {name!r} is"
    why = "the profile says that there is one, and no url"
    return Problem(what, f"repositories.{name}.wheels", why, f"add `--index {name}=URL`")


def wheel_index(runner: Runner, override: Sequence[str] = ()) -> list[str]:
    """Base URLs of the simple API, the preferred one first: ``override`` alone, else pip's and uv's own.

    Raises:
        InputError: nothing names an index on the network, or an option is malformed.
    """
    if given := parse_indices(override)[0]:
        return given
    own, further = parse_pip_config(_pip_config(runner, os.environ))
    urls = list(dict.fromkeys([*(own or _uv_default(runner)), *further]))
    if not urls:
        why = "neither pip's configuration nor uv's default names one"
        raise InputError(Problem("no index of wheels is known", "PIP_INDEX_URL", why, "set PIP_INDEX_URL"))
    return urls


def _uv_default(runner: Runner) -> list[str]:
    # With nothing to resolve, uv only tells which index it would have asked.
    argv = [find_uv_bin(), "pip", "compile", "--quiet", "--offline", "--no-header", "--emit-index-url"]
    return parse_index_options(runner.run([*argv, "--python", sys.executable, "-"], stdin="", check=False).stdout)


def _pip_config(runner: Runner, environ: Mapping[str, str]) -> str:
    done = runner.run([sys.executable, "-m", "pip", "config", "list"], check=False)
    if done.returncode == 0:
        return done.stdout
    # An environment made by uv has no pip; its variables still count.
    pairs = (("index-url", "PIP_INDEX_URL"), ("extra-index-url", "PIP_EXTRA_INDEX_URL"))
    return "\n".join(f":env:.{option}={environ[name]!r}" for option, name in pairs if name in environ)


def _network(urls: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(url.rstrip("/") for url in urls if urlsplit(url).scheme in ("http", "https")))
