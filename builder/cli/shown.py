"""How a merged profile reads on a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from builder.cli.output import say, table
from builder.verbs.show import Shown


def print_shown(shown: Shown, *, explain: bool) -> None:
    """The profile as keys and values, or with the place each came from; then its options."""
    if explain:
        rows = [(item.key, _value(item.value), item.origin) for item in shown.explained]
        table(("key", "value", "from"), rows)
    else:
        table(("key", "value"), _rows(shown.profile))
    if shown.options:
        say("\noptions")
        headers = ("overlay.option", "value", "type", "default", *(["from"] if explain else []), "meaning")
        table(headers, _options(shown, explain))


def _rows(value: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, item in value.items():
        if isinstance(item, dict) and item:
            yield from _rows(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _value(item)


def _options(shown: Shown, explain: bool) -> Iterator[tuple[str, ...]]:
    for option in shown.options:
        name, value, default = f"{option.overlay}.{option.name}", _value(option.value), _value(option.default)
        yield name, value, option.type, default, *([option.origin] if explain else []), option.description


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(_value(item) for item in value) or "-"
    if isinstance(value, str):
        return " ".join(value.split()) or '""'
    return json.dumps(value)
