"""Makes functions of conditions."""

from __future__ import annotations

from collections.abc import Callable

from .compare import COSTS, UNSUPPORTED, make_test
from .fields import Facts, Field, find_field
from .tree import And, Check, Constant, Node, Not, Or

Judgement = Callable[[Facts], bool]


class Compiler:
    """Makes each comparison once, however many rules have it."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, str, tuple[str, ...]], Judgement] = {}

    def compile(self, node: Node) -> Judgement:
        """A function that says whether an event is meant.

        Raises:
            Fault: a comparison does not fit its field.
        """
        match node:
            case Check():
                key = (node.whole_field, node.operator, node.words)
                if key not in self._made:
                    self._made[key] = _judgement(node)
                return self._made[key]
            case Not(part):
                inner = self.compile(part)
                return lambda facts: not inner(facts)
            case And(parts):
                return _every([self.compile(part) for part in sorted(parts, key=cost)])
            case Or(parts):
                return _some([self.compile(part) for part in sorted(parts, key=cost)])
            case Constant(value):
                return lambda facts: value
        raise TypeError(node)  # names of macros are gone by now


def unsupported(check: Check) -> str:
    """What of a comparison is not to be had here; empty when it is."""
    if check.operator in UNSUPPORTED:
        return f"{check.whole_field} {check.operator}"
    return "" if find_field(check.field, check.argument) else check.whole_field


def cost(node: Node) -> int:
    """Roughly how long it takes; cheap comparisons are made first, which changes no result."""
    match node:
        case Check(field, argument, operator):
            found = find_field(field, argument)
            return (found.cost if found else 1) + COSTS.get(operator, 0)
        case Not(part):
            return cost(part)
        case And(parts) | Or(parts):
            return sum(cost(part) for part in parts)
    return 0


def _judgement(check: Check) -> Judgement:
    field = find_field(check.field, check.argument)
    if not field:
        raise LookupError(check.whole_field)  # rules with such fields are not compiled
    test, read = make_test(check, field.sort), field.read
    if field.many:
        return _of_many(check, field)

    def judge(facts: Facts) -> bool:
        value = read(facts)
        return value is not None and test(value)

    return judge


def _of_many(check: Check, field: Field) -> Judgement:
    test, read = make_test(check, field.sort), field.read
    decide = all if field.many == "every" and check.operator == "!=" else any

    def judge(facts: Facts) -> bool:
        values = read(facts)
        return isinstance(values, list) and bool(values) and decide(map(test, values))

    return judge


def _every(tests: list[Judgement]) -> Judgement:
    if len(tests) == 2:
        first, second = tests
        return lambda facts: first(facts) and second(facts)

    def judge(facts: Facts) -> bool:
        for test in tests:  # noqa: SIM110 - all() with a generator takes twice as long
            if not test(facts):
                return False
        return True

    return judge


def _some(tests: list[Judgement]) -> Judgement:
    if len(tests) == 2:
        first, second = tests
        return lambda facts: first(facts) or second(facts)

    def judge(facts: Facts) -> bool:
        for test in tests:  # noqa: SIM110 - see above
            if test(facts):
                return True
        return False

    return judge
