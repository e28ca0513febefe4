"""Rules, macros and lists as the files define them, later files extending earlier ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from ..alert import Priority
from .document import Value
from .exceptions import RuleException, merge_exceptions, read_exceptions
from .problems import Fault, Place, Problem
from .text import Text

PRIORITIES = {priority.name: priority for priority in Priority} | {"INFO": Priority.INFORMATIONAL}
NAME = re.compile(r"[a-zA-Z]\w*", re.ASCII)
LIST_NAME = re.compile(r"[a-zA-Z]\S*", re.ASCII)
VERSION = re.compile(r"\d+(\.\d+){0,2}")
# What Falco knows of each, and our own enforce.
RULE_KEYS = {
    *("rule", "desc", "condition", "output", "priority", "tags", "enabled", "exceptions", "source", "append"),
    *("override", "warn_evttypes", "skip-if-unknown-filter", "capture", "capture_duration", "enforce"),
}
# What may be extended, and what may be put in place of the earlier.
APPENDABLE = {"condition", "output", "desc", "tags", "exceptions"}
REPLACEABLE = APPENDABLE | {"priority", "enabled", "warn_evttypes", "skip-if-unknown-filter", "enforce"}
IGNORED = ("required_engine_version", "required_plugin_versions")
Defined = TypeVar("Defined", "RuleDefinition", "Macro", "WordList")


@dataclass(frozen=True)
class WordList:
    """A list; its items may be the names of others."""

    place: Place
    items: tuple[Value, ...]


@dataclass(frozen=True)
class Macro:
    """A condition with a name."""

    place: Place
    condition: Text


@dataclass(frozen=True)
class RuleDefinition:
    """A rule before its condition is understood.

    Attributes:
        enforce: where it says that the kernel shall refuse what matches; None when it does not.
    """

    name: str
    place: Place
    condition: Text
    output: Text
    description: str
    priority: Priority
    tags: tuple[str, ...] = ()
    enabled: bool = True
    source: str = "syscall"
    exceptions: Mapping[str, RuleException] = field(default_factory=dict)
    enforce: Place | None = None


class Definitions:
    """What all files together define; ``problems`` is what is wrong with them, ``files`` their order."""

    def __init__(self) -> None:
        self.files: list[str] = []
        self.lists: dict[str, WordList] = {}
        self.macros: dict[str, Macro] = {}
        self.rules: dict[str, RuleDefinition] = {}
        self.problems: list[Problem] = []

    def add(self, item: Value) -> None:
        """Take one item of a file."""
        try:
            keys = item.mapping
            if "rule" in keys:
                self._add_rule(item, keys)
            elif "macro" in keys:
                self._add_macro(item, keys)
            elif "list" in keys:
                self._add_list(item, keys)
            elif not any(key in keys for key in IGNORED):
                remedy = "begin it with `- rule: NAME`, `- macro: NAME` or `- list: NAME`"
                raise item.fault("neither rule, macro nor list", f"it has {', '.join(keys) or 'no keys'}", remedy)
            else:
                _check_requirement(keys)
        except Fault as fault:
            self.problems.append(fault.problem)

    def _add_list(self, item: Value, keys: Mapping[str, Value]) -> None:
        name = _name_of(keys["list"], LIST_NAME)
        self._expect(item, keys, {"list", "items", "append", "override"}, {"items"})
        items = () if keys["items"].absent else keys["items"].items
        for word in items:
            _ = word.text
        earlier = self._extended(item, keys, name, self.lists, {"items"})
        self.lists[name] = WordList(item.place, (*(earlier.items if earlier else ()), *items))

    def _add_macro(self, item: Value, keys: Mapping[str, Value]) -> None:
        name = _name_of(keys["macro"], NAME)
        self._expect(item, keys, {"macro", "condition", "append", "override"}, {"condition"})
        condition = _filled(keys["condition"])
        earlier = self._extended(item, keys, name, self.macros, {"condition"})
        self.macros[name] = Macro(item.place, earlier.condition + condition if earlier else condition)

    def _add_rule(self, item: Value, keys: Mapping[str, Value]) -> None:
        name = " ".join(keys["rule"].text.value.split())
        if not name:
            raise keys["rule"].fault("a rule without a name", "nothing stands there", "name it")
        self._expect(item, keys, RULE_KEYS, set())
        changes = {READERS[key][0]: READERS[key][1](value) for key, value in keys.items() if key in READERS}
        if not self._changes_rule(keys):
            self._expect(item, keys, RULE_KEYS, {"condition", "output", "desc", "priority"})
            self.rules[name] = RuleDefinition(name, item.place, **changes)  # type: ignore[arg-type]
            return
        earlier = self.rules.get(name)
        if not earlier:
            raise item.fault(f"no rule {name!r} to change", "no file before defines it", "correct name or order")
        modes = _modes(keys, REPLACEABLE)
        for key in modes:
            attribute = READERS[key][0] if key in READERS else ""
            if attribute and modes[key] == "append":
                changes[attribute] = _joined(getattr(earlier, attribute), changes[attribute])
        self.rules[name] = replace(earlier, **changes)  # type: ignore[arg-type]

    @staticmethod
    def _changes_rule(keys: Mapping[str, Value]) -> bool:
        """Whether it changes an earlier rule; `- rule: X` with nothing but `enabled` switches it."""
        appends = "append" in keys and keys["append"].truth
        return appends or "override" in keys or set(keys) == {"rule", "enabled"}

    def _extended(
        self, item: Value, keys: Mapping[str, Value], name: str, earlier: Mapping[str, Defined], allowed: set[str]
    ) -> Defined | None:
        """What the item appends to; None when it stands for itself or replaces."""
        modes = _modes(keys, allowed)
        if modes and name not in earlier:
            raise item.fault(f"no {name!r} to change", "no earlier file defines it", "correct the name or the order")
        return earlier[name] if "append" in modes.values() else None

    def _expect(self, item: Value, keys: Mapping[str, Value], known: set[str], needed: set[str]) -> None:
        for key, value in keys.items():
            if key not in known:
                why = f"a {next(iter(keys))} has no such key"
                fault = value.fault(f"unknown key {key!r}", why, f"known: {', '.join(sorted(known))}")
                self.problems.append(fault.problem)
        missing = sorted(needed - set(keys))
        if missing:
            raise item.fault(f"without {', '.join(missing)}", f"every {next(iter(keys))} needs it", "add it")


def _name_of(value: Value, pattern: re.Pattern[str]) -> str:
    name = value.text.value
    if not pattern.fullmatch(name):
        raise value.fault(f"{name!r} is no name", "conditions could not call it", "use letters, digits and _")
    return name


def _filled(value: Value) -> Text:
    if not value.text.value.strip():
        raise value.fault("nothing stands there", "a text is needed", "write it")
    return value.text


def _priority(value: Value) -> Priority:
    word = value.text.value.upper()
    if word not in PRIORITIES:
        raise value.fault(f"no priority {value.text.value!r}", "Falco has eight", f"one of {', '.join(PRIORITIES)}")
    return PRIORITIES[word]


def _modes(keys: Mapping[str, Value], allowed: set[str]) -> dict[str, str]:
    """Which keys are appended and which replace: from ``override`` or the older ``append: true``."""
    if "override" in keys:
        modes = {}
        for key, value in keys["override"].mapping.items():
            known = ["append", "replace"] if key in APPENDABLE | {"items"} else ["replace"]
            if key not in allowed:
                raise value.fault(f"{key!r} cannot be overridden", "it is no part that changes", f"{sorted(allowed)}")
            if value.text.value not in known:
                raise value.fault(f"{value.text.value!r} is no way to override {key}", "unknown", " or ".join(known))
            if key not in keys:
                raise value.fault(f"nothing to override {key} with", "the key is missing", f"add {key}")
            modes[key] = value.text.value
        return modes
    if "append" in keys and keys["append"].truth:
        return {key: "append" for key in keys if key in APPENDABLE | {"items"}}
    return {}


def _joined(earlier: object, later: object) -> object:
    if isinstance(earlier, Text) and isinstance(later, Text):
        return earlier + later
    if isinstance(earlier, tuple) and isinstance(later, tuple):
        return (*earlier, *(item for item in later if item not in earlier))
    if isinstance(earlier, dict) and isinstance(later, dict):
        return merge_exceptions(earlier, later)
    return f"{earlier} {later}"


def _check_requirement(keys: Mapping[str, Value]) -> None:
    """Versions are read and let be: we are no Falco, and what we cannot do is found out rule by rule."""
    value = keys.get("required_engine_version")
    if value and not VERSION.fullmatch(value.text.value):
        raise value.fault("no version", f"{value.text.value!r} stands there", "write 0.50.0, or the older 26")


# Turn what stands behind a key into what the definition holds.
READERS: Mapping[str, tuple[str, Callable[[Value], object]]] = {
    "condition": ("condition", _filled),
    "output": ("output", _filled),
    "desc": ("description", lambda value: " ".join(value.text.value.split())),
    "priority": ("priority", _priority),
    "tags": ("tags", lambda value: () if value.absent else tuple(item.text.value for item in value.items)),
    "enabled": ("enabled", lambda value: value.truth),
    "source": ("source", lambda value: value.text.value),
    "exceptions": ("exceptions", read_exceptions),
    "enforce": ("enforce", lambda value: value.place if value.truth else None),
}
