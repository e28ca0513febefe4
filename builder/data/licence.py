"""Licences as SPDX expressions, from what Debian's copyright files and Python's metadata say.

Debian writes short names of its own (machine-readable copyright files, DEP-5). Names without a counterpart in SPDX's
list become ``LicenseRef-…``; where nothing is said in a form that a program can read, the answer is ``NOASSERTION``.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from email.parser import HeaderParser

from license_expression import ExpressionError, Licensing, get_spdx_licensing

NOASSERTION = "NOASSERTION"
REF = "LicenseRef-"
# Names of Debian's and PyPI's for licences that SPDX names otherwise, in lower case.
_NAMES = {
    "apache": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "apache-2": "Apache-2.0",
    "artistic": "Artistic-1.0-Perl",
    "artistic-2": "Artistic-2.0",
    "bsd 2-clause license": "BSD-2-Clause",
    "bsd 3-clause license": "BSD-3-Clause",
    "3 clause bsd": "BSD-3-Clause",
    "bsd-2": "BSD-2-Clause",
    "bsd-3": "BSD-3-Clause",
    "bsl": "BSL-1.0",
    "cc0": "CC0-1.0",
    "expat": "MIT",
    "isc license": "ISC",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "psfl": "PSF-2.0",
    "python": "Python-2.0",
    "python software foundation license": "PSF-2.0",
    "the unlicense (unlicense)": "Unlicense",
}
_GNU = re.compile(r"(?P<name>A?GPL|LGPL|GFDL)(?P<niv>-NIV)?-?v?(?P<version>[1-3](?:\.[0-9])?)?(?P<later>\+?)", re.I)
_EXCEPTIONS = {
    "autoconf": "Autoconf-exception-generic",
    "autoconf-data": "Autoconf-exception-generic",
    "bison": "Bison-exception-2.2",
    "font": "Font-exception-2.0",
    "libtool": "Libtool-exception",
    "linux-syscall-note": "Linux-syscall-note",
    "llvm": "LLVM-exception",
    "texinfo": "Texinfo-exception",
}
_PARAGRAPH = re.compile(r"\n[ \t]*\n")
_FIELD = re.compile(r"^([A-Za-z-]+):[ \t]*(.*)$", re.M)
_WORDS = re.compile(r",?\s+(and|or)\s+", re.I)
_MOST_CHARACTERS = 60  # of a licence's name; Python packages put whole texts there, too


@functools.cache
def _spdx() -> Licensing:
    return get_spdx_licensing()


@functools.cache
def _listed() -> dict[str, str]:
    """SPDX's own identifiers by their lower-case form."""
    symbols = _spdx().known_symbols
    return {key.lower(): key for key, symbol in symbols.items() if not symbol.is_exception and not key.startswith(REF)}


def debian_licence(copyright_text: str) -> str:
    """The licences of all files of a Debian source, from its machine-readable copyright file.

    They hold for the whole source: which of them covers one binary package, Debian does not say.
    """
    head, *paragraphs = _PARAGRAPH.split(copyright_text.lstrip().replace("\r\n", "\n"))
    if not head.lower().startswith("format"):
        return NOASSERTION
    names = set()
    for paragraph in paragraphs:
        fields = {name.lower(): value.strip() for name, value in _FIELD.findall(paragraph)}
        if "files" in fields and fields.get("license"):
            names.add(fields["license"])
    return _joined(_debian_expression(name) for name in names)


@functools.cache
def _debian_expression(name: str) -> str:
    """One ``License:`` line: names joined by ``and`` and ``or``; a comma ends a group."""
    groups = []
    for group in re.split(r",\s+(?:and\s+)?(?!or\b)", name):
        words = _WORDS.split(group.strip())
        terms = [_debian_name(word) if at % 2 == 0 else word.upper() for at, word in enumerate(words)]
        groups.append(f"({' '.join(terms)})")
    return " AND ".join(groups)


def _debian_name(name: str) -> str:
    base, _, exception = re.sub(r"\s+exceptions?$", "", name.strip(), flags=re.I).partition(" with ")
    known = _identifier(base)
    if exception:
        found = _EXCEPTIONS.get(exception.strip().lower())
        known = f"{known} WITH {found}" if known and found else None
    return known or reference(name)


def _identifier(name: str) -> str | None:
    """The identifier in SPDX's list that ``name`` means."""
    lower = " ".join(name.lower().split())
    if lower in _NAMES:
        return _NAMES[lower]
    gnu = _GNU.fullmatch(name.strip())
    if gnu:
        kind = gnu["name"].upper()
        # Without a number any version will do: the first one or later.
        version = gnu["version"] or {"GPL": "1", "LGPL": "2", "AGPL": "3", "GFDL": "1.1"}[kind]
        later = "or-later" if gnu["later"] or not gnu["version"] else "only"
        number = version if "." in version else f"{version}.0"
        lower = f"{kind}-{number}{'-no-invariants' if gnu['niv'] else ''}-{later}".lower()
    return _listed().get(lower)


def reference(name: str) -> str:
    """An identifier for a licence that SPDX's list does not have."""
    return REF + (re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-.") or "unnamed")


def _joined(expressions: Iterable[str]) -> str:
    """All of them hold; each once, in sorted order."""
    parts = sorted(set(expressions))
    return str(_spdx().parse(" AND ".join(parts)).simplify().render()) if parts else NOASSERTION


def wheel_licence(metadata: str) -> str:
    """The licence of a Python distribution, from its METADATA.

    ``License-Expression`` (PEP 639) counts first, then a short ``License``, then the classifiers.
    """
    headers = HeaderParser().parsestr(metadata)
    if expression := headers.get("License-Expression"):
        return _checked(expression)
    title, _, text = (headers.get("License") or "").strip().partition("\n")
    said = headers.get_all("Classifier", [])
    classifiers = [line.rpartition(" :: ")[2] for line in said if line.startswith("License ::")]
    names = [title, *classifiers]
    whole = classifiers if text or len(title) > _MOST_CHARACTERS else names
    return next((found for name in names if (found := _identifier(name))), _named(whole))


def _checked(expression: str) -> str:
    try:
        parsed = _spdx().parse(expression, validate=True)
    except (ExpressionError, ValueError):  # not of the grammar, or a name that is not listed
        return reference(expression)
    return str(parsed.render())


def _named(names: Iterable[str]) -> str:
    return next((reference(name) for name in names if name and name.lower() not in ("unknown", "other")), NOASSERTION)


def references(expression: str) -> Iterator[str]:
    """The identifiers in ``expression`` that are not in SPDX's list."""
    yield from re.findall(rf"{REF}[A-Za-z0-9.-]+", expression)
