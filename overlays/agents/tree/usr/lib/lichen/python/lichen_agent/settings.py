"""An agent's settings: a file of TOML with exactly the names of a dataclass, and all faults told at once."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields
from pathlib import Path

_KINDS = {"str": str, "bool": bool, "int": int, "float": (int, float)}


class SettingsError(Exception):
    """The file cannot be used; the message names it and all its faults."""


def read_values(path: Path) -> dict[str, object]:
    """What the file says.

    Raises:
        SettingsError: it is missing, or no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path}: {error}") from error


def refuse(path: Path, problems: Sequence[str]) -> None:
    """Tell what is wrong with the file, if anything is.

    Raises:
        SettingsError: there are problems.
    """
    if problems:
        raise SettingsError("\n".join(f"{path}: {problem}" for problem in problems))


def faults(
    values: Mapping[str, object],
    settings: type,
    ranges: Mapping[str, tuple[float, float]],
    complaint: Callable[[str, object], str] = lambda name, value: "",
    secrets: Collection[str] = (),
) -> list[str]:
    """What is wrong with the values for a dataclass: names that are missing or none of its, types, ranges.

    Args:
        ranges: smallest and largest of each number.
        complaint: says more about a value whose type is right, "" for nothing. Asked for fields of simple types.
        secrets: names whose values are not shown; what ``complaint`` says of them must not show them either.
    """
    types = {field.name: field.type for field in fields(settings)}
    problems = [
        f"{name}: there is no such setting; there are {', '.join(types)}" for name in values if name not in types
    ]
    for name, wanted in types.items():
        if name not in values:
            problems.append(f"{name} is missing")
            continue
        value = values[name]
        shown = name if name in secrets else f"{name} = {value!r}"
        kinds = _KINDS.get(str(wanted))
        if kinds is None:
            continue
        if not isinstance(value, kinds) or (isinstance(value, bool) and wanted != "bool"):
            problems.append(f"{shown}: is to be {wanted}")
        elif name in ranges and not ranges[name][0] <= value <= ranges[name][1]:
            problems.append(f"{name} = {value}: is to be from {ranges[name][0]} to {ranges[name][1]}")
        elif said := complaint(name, value):
            problems.append(f"{shown}: {said}")
    return problems
