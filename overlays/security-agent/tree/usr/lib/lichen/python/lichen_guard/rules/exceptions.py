"""Exceptions of rules: tables of values for which a rule does not hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from .document import Value
from .parse import ARGUMENT, FIELD, MANY_WORDS, ONE_WORD
from .problems import Fault
from .text import Text
from .tree import Check, Node, Operand, Spot, all_of, any_of, opposite

COMPARISONS = ("=", "==", "!=", "<", "<=", ">", ">=", *MANY_WORDS, *ONE_WORD)


@dataclass(frozen=True)
class RuleException:
    """One of a rule's exceptions.

    Attributes:
        fields: names with the place of each.
        comparisons: one for each field.
        values: rows with a value for each field; with a single field (``single``) just the values.
    """

    fields: tuple[Text, ...]
    comparisons: tuple[str, ...]
    values: tuple[Value, ...]
    single: bool


def read_exceptions(value: Value) -> Mapping[str, RuleException]:
    """The exceptions by their names.

    Raises:
        Fault: something in them is wrong.
    """
    found: dict[str, RuleException] = {}
    for item in () if value.absent else value.items:
        keys = item.mapping
        unknown = set(keys) - {"name", "fields", "comps", "values"}
        if unknown or "name" not in keys:
            why = f"it has {', '.join(sorted(keys)) or 'nothing'}"
            raise item.fault("no exception", why, "give it name, fields, comps and values")
        name = keys["name"].text.value
        if name in found:
            raise keys["name"].fault(f"exception {name!r} twice", "only one can be meant", "rename one")
        found[name] = _read_exception(item, keys)
    return found


def _read_exception(item: Value, keys: Mapping[str, Value]) -> RuleException:
    values = keys["values"].items if "values" in keys and not keys["values"].absent else ()
    if "fields" not in keys:  # only more values for an earlier one
        return RuleException((), (), values, single=False)
    single = isinstance(keys["fields"].content, Text)
    fields = (keys["fields"],) if single else keys["fields"].items
    if "comps" not in keys:
        comparisons: tuple[Value, ...] = ()
    else:
        comparisons = (keys["comps"],) if isinstance(keys["comps"].content, Text) else keys["comps"].items
        if len(comparisons) != len(fields):
            why = f"{len(fields)} fields have {len(comparisons)} comparisons"
            raise keys["comps"].fault("fields and comps differ", why, "give each field its comparison")
    for one in comparisons:
        if one.text.value not in COMPARISONS:
            raise one.fault(f"no comparison {one.text.value!r}", "unknown", f"one of {' '.join(COMPARISONS)}")
    words = tuple(one.text.value for one in comparisons) or (("in",) if single else ("=",) * len(fields))
    return RuleException(tuple(field.text for field in fields), words, values, single)


def merge_exceptions(
    earlier: Mapping[str, RuleException], later: Mapping[str, RuleException]
) -> Mapping[str, RuleException]:
    """The earlier ones with the later ones' values added."""
    merged = dict(earlier)
    for name, exception in later.items():
        known = merged.get(name)
        merged[name] = replace(known, values=(*known.values, *exception.values)) if known else exception
    return merged


def condition_of(exceptions: Mapping[str, RuleException]) -> Node:
    """What must hold besides the rule's own condition.

    Raises:
        Fault: values do not fit their fields.
    """
    return all_of(opposite(_matches(name, exception)) for name, exception in exceptions.items() if exception.values)


def _matches(name: str, exception: RuleException) -> Node:
    if not exception.fields:
        fault = exception.values[0].fault
        raise fault(f"exception {name!r} without fields", "no earlier rule has given them", "add fields")
    if exception.single:
        field, comparison = exception.fields[0], exception.comparisons[0]
        if comparison in MANY_WORDS:
            return _check(field, comparison, exception.values)
        return any_of(iter([_check(field, comparison, (value,)) for value in exception.values]))
    return any_of(iter([_row(exception, row) for row in exception.values]))


def _row(exception: RuleException, row: Value) -> Node:
    if len(row.items) != len(exception.fields):
        why = f"{len(exception.fields)} fields, {len(row.items)} values"
        raise row.fault("a row that does not fit", why, "give a value for each field")
    parts = zip(exception.fields, exception.comparisons, row.items, strict=True)
    return all_of(iter([_check(field, comparison, _several(value)) for field, comparison, value in parts]))


def _several(value: Value) -> tuple[Value, ...]:
    return value.content if isinstance(value.content, tuple) else (value,)


def _check(field: Text, comparison: str, values: tuple[Value, ...]) -> Check:
    found = FIELD.match(field.value)
    argument = ARGUMENT.fullmatch(field.value, found.end()) if found else None
    if not found or (found.end() < len(field.value) and not argument):
        raise Fault(field.place(), f"no field {field.value!r}", "fields look like proc.name", "correct it")
    operator = "=" if comparison == "==" else comparison
    if operator not in MANY_WORDS and len(values) != 1:
        raise values[0].fault("several values", f"{operator} compares with one", "use in")
    within = next((group for group in argument.groups() if group is not None), None) if argument else None
    return Check(found.group(), within, operator, tuple(_operand(value) for value in values), Spot(field))


def _operand(value: Value) -> Operand:
    """A word; ``(name)`` and ``name`` are lists in Falco's files."""
    word = value.text.value
    if word.startswith("(") and word.endswith(")"):
        word = word[1:-1].strip()
    quoted = len(word) > 1 and word[0] == word[-1] and word[0] in "\"'"
    return Operand(word[1:-1] if quoted else word, Spot(value.text), quoted)
