"""YAML that remembers where each key stood, so that an error can name the line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from builder.foundation.errors import InputError, Problem

KeyPath = tuple[str | int, ...]
# Deeper nesting than any profile has; a guard against documents made to exhaust the parser.
MAX_DEPTH = 32
PLAIN_TAGS = ("tag:yaml.org,2002:seq", "tag:yaml.org,2002:map")


@dataclass(frozen=True)
class Document:
    """A parsed mapping and the line (from 1) of every key path in it."""

    path: Path
    value: dict[str, Any]
    lines: dict[KeyPath, int]

    def place(self, key: KeyPath) -> str:
        """``FILE:LINE: key.path`` of ``key``, or of the nearest parent that the file has."""
        return f"{self.path}:{self.line(key)}: {dotted(key)}".removesuffix(": ")

    def line(self, key: KeyPath) -> int:
        """The line of ``key``, or of the nearest parent that the file has."""
        while key and key not in self.lines:
            key = key[:-1]
        return self.lines.get(key, 1)


def dotted(key: KeyPath) -> str:
    """``('options', 'a', 0)`` as ``options.a[0]``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key).removeprefix(".")


def read_yaml(path: Path) -> Document:
    """Parse one file whose top level is a mapping with string keys.

    Raises:
        InputError: unreadable, not UTF-8, not YAML, a key twice, an alias, or no mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
        loader = yaml.SafeLoader(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(Problem("cannot read the file", str(path), str(error), "write it as UTF-8 text")) from error
    lines: dict[KeyPath, int] = {}
    try:
        node = loader.get_single_node()
        value = _convert(loader, node, (), lines, set()) if node else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise InputError(Problem("the file is not valid YAML", where, error.problem or str(error))) from error
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:
        raise InputError(Problem("the file is not valid YAML", str(path), str(error))) from error
    finally:
        loader.dispose()
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise InputError(
            Problem(
                "the file has no mapping at its top", f"{path}:1", f"found {type(value).__name__}", "write `key: value`"
            )
        )
    return Document(path, value, lines)


def _convert(loader: yaml.SafeLoader, node: yaml.Node, key: KeyPath, lines: dict[KeyPath, int], seen: set[int]) -> Any:
    mark = node.start_mark
    lines.setdefault(key, mark.line + 1)
    if isinstance(node, yaml.CollectionNode):
        # Aliases are refused: nested ones grow without bound, and nobody reading a profile expects them.
        if id(node) in seen:
            raise yaml.MarkedYAMLError(problem="aliases (*name) are not allowed", problem_mark=mark)
        seen.add(id(node))
        if node.tag not in PLAIN_TAGS:
            raise yaml.MarkedYAMLError(problem=f"the tag {node.tag} is not allowed", problem_mark=mark)
    if len(key) > MAX_DEPTH:
        raise yaml.MarkedYAMLError(problem=f"nested deeper than {MAX_DEPTH} levels", problem_mark=mark)
    if isinstance(node, yaml.SequenceNode):
        return [_convert(loader, item, (*key, index), lines, seen) for index, item in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        value = _scalar(loader, node)
        if not isinstance(value, str | int | float | bool | None):
            # A date or a binary: say it is text, so that the model can complain about the field and not crash.
            return str(node.value)
        return value
    result: dict[str, Any] = {}
    for key_node, value_node in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":
            raise yaml.MarkedYAMLError(problem="merge keys (<<) are not allowed", problem_mark=key_node.start_mark)
        name = _scalar(loader, key_node) if isinstance(key_node, yaml.ScalarNode) else None
        if not isinstance(name, str):
            raise yaml.MarkedYAMLError(problem="a key is not a string", problem_mark=key_node.start_mark)
        if name in result:
            raise yaml.MarkedYAMLError(problem=f"key {name!r} stands twice", problem_mark=key_node.start_mark)
        lines[(*key, name)] = key_node.start_mark.line + 1
        result[name] = _convert(loader, value_node, (*key, name), lines, seen)
    return result


def _scalar(loader: yaml.SafeLoader, node: yaml.Node) -> Any:
    value = loader.construct_object(node)
    if isinstance(value, str) and any("\ud800" <= char <= "\udfff" for char in value):
        # Half a character, written as an escape: it could be neither hashed nor written anywhere.
        raise yaml.MarkedYAMLError(problem="the text is not Unicode", problem_mark=node.start_mark)
    return value
