"""What of a condition is decided by the kind of an event alone.

``evt.type in (execve) and proc.name = sh`` becomes ``proc.name = sh`` for an exec, and false for everything else: so an
event meets only rules that can match it, and what remains to compare is little.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..event import Kind
from .compare import make_test
from .fields import find_field
from .kinds import ALL, CALLS
from .tree import FALSE, And, Check, Constant, Node, Not, Or, all_of, any_of, opposite

# Access modes of open(2): O_RDONLY, O_WRONLY, O_RDWR, and 3, which permits neither.
READS: Mapping[int, bool] = {0: True, 1: False, 2: True, 3: False}
WRITES: Mapping[int, bool] = {0: False, 1: True, 2: True, 3: False}


@dataclass(frozen=True)
class Circumstance:
    """A kind of events; of opens, with the access mode."""

    kind: Kind
    access: int = 0


CIRCUMSTANCES = (
    *(Circumstance(kind) for kind in sorted(ALL - {"open"})),
    *(Circumstance("open", access) for access in range(4)),
)


def settle(node: Node, circumstance: Circumstance) -> Node:
    """The rest of a condition under a circumstance.

    Raises:
        Fault: a comparison that is decided here does not fit its field.
    """
    match node:
        case Check():
            return _settle_check(node, circumstance)
        case Not(part):
            return opposite(settle(part, circumstance))
        case And(parts):
            return all_of(settle(part, circumstance) for part in parts)
        case Or(parts):
            return any_of(settle(part, circumstance) for part in parts)
    return node


def _settle_check(check: Check, circumstance: Circumstance) -> Node:
    kind = circumstance.kind
    if check.field in ("evt.type", "syscall.type"):
        return _any_name(check, CALLS[kind])
    if check.field == "evt.dir":
        return _any_name(check, ("<", ">"))
    field = find_field(check.field, check.argument)
    if not field:
        return check
    if kind not in field.kinds:
        return FALSE
    if check.field == "evt.is_open_read":
        return Constant(make_test(check, field.sort)(kind == "open" and READS[circumstance.access]))
    if check.field == "evt.is_open_write":
        return Constant(make_test(check, field.sort)(kind == "open" and WRITES[circumstance.access]))
    return check


def _any_name(check: Check, names: tuple[str, ...]) -> Constant:
    """An event has several names: it is none of them only when none is meant."""
    test = make_test(check, "text")
    decide = all if check.operator == "!=" else any
    return Constant(decide(test(name) for name in names))
