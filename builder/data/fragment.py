"""Kernel configuration fragments: ``kernel-configs/NAME.config``, one purpose each.

A fragment begins with comments that say its ``Purpose``, ``Cost`` and ``Source``. Then one setting a line,
``CONFIG_SYMBOL=VALUE``, as in a kernel's own configuration, and behind ``#`` what more is to be known:

* ``preferred``: the build goes on when the symbol cannot have the value (``required`` is what all others are);
* ``or y``: built in will do where a module is asked for;
* names of architectures: the setting is for these only.

``n`` means that the symbol is off or does not exist.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from builder.data.profile import Architecture
from builder.foundation.errors import InputError, Problem

_SETTING = re.compile(r'CONFIG_(?P<symbol>[A-Za-z0-9_]+)=(?P<value>[ymn]|-?[0-9]+|0x[0-9a-fA-F]+|"[^"\n]*")$')
_HEADER = re.compile(r"#\s*(Purpose|Cost|Source):\s*\S")
_HEADERS = ("Purpose", "Cost", "Source")
_ARCHITECTURES: tuple[str, ...] = get_args(Architecture)


@dataclass(frozen=True)
class Setting:
    """One value that a fragment asks for.

    Attributes:
        symbol: without ``CONFIG_``.
        value: ``y``, ``m``, ``n``, a number, or a text in quotes, as a kernel's configuration has it.
        place: ``FILE:LINE``.
        required: the build stops when the kernel's configuration has another value in the end.
        built_in_will_do: ``y`` is as good as the ``m`` that is asked for.
        architectures: those it is for; none means all.
    """

    symbol: str
    value: str
    place: str
    required: bool = True
    built_in_will_do: bool = False
    architectures: tuple[str, ...] = ()

    def met_by(self, got: str) -> bool:
        """Whether the final value ``got`` is what is asked for."""
        return got == self.value or (self.built_in_will_do and got == "y")


@dataclass(frozen=True)
class Fragment:
    """One fragment: its name, and its settings in order."""

    name: str
    settings: tuple[Setting, ...]


@dataclass(frozen=True)
class Unmet:
    """A setting that the final configuration does not have; ``got`` is what it has."""

    setting: Setting
    got: str


def read_fragment(folder: Path, name: str, place: str) -> Fragment:
    """The fragment ``name`` of ``folder``; ``place`` is where it is asked for.

    Raises:
        InputError: there is none (near matches are named), it cannot be read, or as :func:`parse_fragment`.
    """
    path = folder / f"{name}.config"
    try:
        return parse_fragment(name, path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        known = sorted(item.stem for item in folder.glob("*.config"))
        near = difflib.get_close_matches(name, known, n=3)
        remedy = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known) or 'none'}"
        raise InputError(Problem(f"there is no kernel fragment called {name!r}", place, "", remedy)) from None
    except (OSError, ValueError) as error:
        raise InputError(Problem("the kernel fragment cannot be read", str(path), str(error))) from error


def parse_fragment(name: str, text: str, file: str) -> Fragment:
    """The fragment in ``text``; ``file`` is where it was read, for errors.

    Raises:
        InputError: every line that is no setting, every symbol set twice, every part of the header that is missing.
    """
    problems: list[Problem] = []
    header: set[str] = set()
    settings: dict[str, Setting] = {}
    for number, line in enumerate(text.splitlines(), 1):
        place = f"{file}:{number}"
        if match := _HEADER.match(line):
            header.add(match[1])
        if line.startswith("#") or not line.strip():
            continue
        try:
            setting = _setting(line, place)
        except ValueError as error:
            remedy = "write CONFIG_SYMBOL=VALUE, and behind # only required, preferred, or y, or architectures"
            problems.append(Problem("not a setting of a kernel", place, str(error), remedy))
            continue
        if known := settings.get(setting.symbol):
            why = f"{known.place} has it already"
            problems.append(Problem(f"CONFIG_{setting.symbol} is set twice", place, why, "remove one of them"))
        settings[setting.symbol] = setting
    problems += [
        Problem(f"the fragment does not say its {part.lower()}", file, "", f"begin it with `# {part}: ...`")
        for part in _HEADERS
        if part not in header
    ]
    if problems:
        raise InputError(problems)
    return Fragment(name, tuple(settings.values()))


def _setting(line: str, place: str) -> Setting:
    text, _, remark = line.partition("#") if '"' not in line else _behind_quotes(line)
    match = _SETTING.match(text.strip())
    if not match:
        raise ValueError(text.strip())
    words = [word.strip() for word in remark.replace("or y", "or-y").replace(",", " ").split()]
    if unknown := sorted({*words}.difference({"required", "preferred", "or-y"}, _ARCHITECTURES)):
        raise ValueError(f"behind # stands {', '.join(unknown)}")
    if "or-y" in words and match["value"] != "m":
        raise ValueError("`or y` is for modules")
    return Setting(
        match["symbol"],
        match["value"],
        place,
        required="preferred" not in words,
        built_in_will_do="or-y" in words,
        architectures=tuple(word for word in words if word in _ARCHITECTURES),
    )


def _behind_quotes(line: str) -> tuple[str, str, str]:
    end = line.rindex('"') + 1
    head, tail = line[:end], line[end:]
    return head + tail.partition("#")[0], "#", tail.partition("#")[2]


def merge_fragments(fragments: Iterable[Fragment], architecture: str) -> tuple[Setting, ...]:
    """The settings of all fragments for one architecture, by symbol.

    Where one fragment requires more than another (built in instead of a module), the stricter one counts. A preference
    counts only where nobody requires anything of the symbol. The order of the fragments decides nothing.

    Raises:
        InputError: two fragments that want different values, all such pairs, with both files and lines.
    """
    merged: dict[str, Setting] = {}
    problems = []
    asked = [item for fragment in fragments for item in fragment.settings]
    asked = [item for item in asked if not item.architectures or architecture in item.architectures]
    # What is only preferred comes behind all that is required, and gives way to it.
    for setting in sorted(asked, key=lambda item: not item.required):
        known = merged.get(setting.symbol)
        if known and known.required and not setting.required:
            continue
        both = _both(known, setting) if known else setting
        if both is None and known:
            why = f"{known.place} wants {known.value}, {setting.place} wants {setting.value}"
            remedy = "remove one of the fragments from the profile, or the setting from one of them"
            problems.append(Problem(f"two fragments disagree on CONFIG_{setting.symbol}", setting.place, why, remedy))
        elif both:
            merged[setting.symbol] = both
    if problems:
        raise InputError(problems)
    return tuple(merged[symbol] for symbol in sorted(merged))


def _both(one: Setting, other: Setting) -> Setting | None:
    """A setting that satisfies both, which are both required or both preferred; None when there is none."""
    for strict, lax in ((one, other), (other, one)):
        if lax.met_by(strict.value):
            return replace(strict, built_in_will_do=strict.built_in_will_do and lax.built_in_will_do)
    return None


def parse_config(text: str) -> dict[str, str]:
    """Symbol to value of a kernel's ``.config``; what is not set has no entry."""
    found = (line.partition("=") for line in text.splitlines() if line.startswith("CONFIG_"))
    return {name.removeprefix("CONFIG_"): value for name, _, value in found}


def config_text(settings: Iterable[Setting]) -> str:
    """The settings as a kernel's own tools read them."""
    return "".join(
        f"# CONFIG_{item.symbol} is not set\n" if item.value == "n" else f"CONFIG_{item.symbol}={item.value}\n"
        for item in settings
    )


def unmet(settings: Iterable[Setting], final: Mapping[str, str]) -> Iterator[Unmet]:
    """What the final configuration does not have as it was asked for."""
    for setting in settings:
        got = final.get(setting.symbol, "n")
        if not setting.met_by(got):
            yield Unmet(setting, got)
