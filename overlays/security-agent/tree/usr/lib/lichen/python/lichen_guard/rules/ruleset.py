"""The rules, ready to judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..alert import Alert, Priority
from ..event import Event, Kind
from ..watch import Denial, Interest, Watch
from .compile import Compiler, Judgement, unsupported
from .definitions import Definitions, RuleDefinition
from .document import read_document
from .enforce import denials_of
from .exceptions import condition_of
from .expand import Broken, Expander
from .fields import Facts
from .names import Names
from .output import MISSING, Template, missing_fields
from .paths import Spot, wanted, watches_of
from .problems import Fault, Place, Problem, RulesError
from .settle import CIRCUMSTANCES, Circumstance, settle
from .tree import FALSE, Node, all_of, checks
from .tree import Spot as TextSpot

# Whatever the rules: who changes the agent, its rules or how it is started shall be seen.
BASE = {
    ("prefix", "/etc/lichen/guard"): Interest.WRITE | Interest.CHANGE | Interest.REMOVE,
    ("prefix", "/etc/lichen/guard.toml"): Interest.WRITE | Interest.CHANGE | Interest.REMOVE,
    ("prefix", "/usr/lib/lichen"): Interest.WRITE | Interest.CHANGE | Interest.REMOVE,
    ("prefix", "/usr/share/lichen/guard"): Interest.WRITE | Interest.CHANGE | Interest.REMOVE,
}


@dataclass(frozen=True)
class Rule:
    """A rule that can be judged.

    Attributes:
        kinds: of events that can match it.
    """

    name: str
    description: str
    priority: Priority
    tags: tuple[str, ...]
    output: Template
    place: Place
    kinds: frozenset[Kind]


@dataclass(frozen=True)
class Unsupported:
    """Why a rule is switched off: it asks for something that the sensor does not tell."""

    rule: str
    field: str
    place: Place

    def __str__(self) -> str:
        return f"{self.place}: rule {self.rule!r} is off: {self.field} is not to be had"


@dataclass(frozen=True)
class Unfilled:
    """A field of a rule's output that the sensor does not tell: the rule judges, and its alerts say <NA> there."""

    rule: str
    field: str
    place: Place

    def __str__(self) -> str:
        return f"{self.place}: rule {self.rule!r} says {MISSING}: {self.field} is not to be had"


@dataclass(frozen=True)
class Unbounded:
    """Files of a rule that the sensor will not watch, and so events that it will not see."""

    rule: str
    reason: str
    place: Place

    def __str__(self) -> str:
        return f"{self.place}: rule {self.rule!r} does not see {self.reason}"


class RuleSet:
    """All rules of some files.

    Attributes:
        rules: those that judge, in the order of the files.
        disabled: names of those that their files switch off.
        unsupported: rules that are off because a field, an operator or every event they wait for is not to be had.
        unfilled: fields of outputs that are not to be had.
        unbounded: what rules will not see, because no path says which files the sensor has to watch.
    """

    def __init__(self, definitions: Definitions, names: Names | None = None) -> None:
        """Compile the rules.

        Raises:
            RulesError: something in them is wrong.
        """
        self._names = names or Names()
        self._count = 0
        self._compiler = Compiler()
        self._expander = Expander(definitions)
        self._problems: list[Problem] = [*definitions.problems, *self._expander.problems]
        self._tests: dict[Kind, list[tuple[Rule, Judgement]]] = {}
        self._opens: tuple[list[tuple[Rule, Judgement]], ...] = ([], [], [], [])
        self._spots: dict[Spot, Interest] = dict(BASE)  # type: ignore[arg-type]
        self._denials: list[Denial] = []
        self._unbounded: list[Unbounded] = []
        self._unsupported: list[Unsupported] = []
        self._unfilled: list[Unfilled] = []
        self._rules: dict[str, Rule] = {}
        for definition in definitions.rules.values():
            try:
                self._take(definition)
            except Fault as fault:
                self._problems.append(fault.problem)
            except Broken:
                pass
        self.disabled = tuple(rule.name for rule in definitions.rules.values() if not rule.enabled)
        self.rules = tuple(self._rules.values())
        self.unsupported = tuple(self._unsupported)
        self.unfilled = tuple(self._unfilled)
        self.unbounded = tuple(self._unbounded)
        if self._problems:
            order = {name: number for number, name in enumerate(definitions.files)}
            raise RulesError(sorted(set(self._problems), key=lambda problem: (order[problem.place.file], problem)))

    def _take(self, definition: RuleDefinition) -> None:
        own = self._expander.expand(definition.condition)
        exceptions = self._expander.expand_tree(condition_of(definition.exceptions), TextSpot(definition.condition))
        condition = all_of(iter((own, exceptions)))
        for check in checks(condition):  # also those that no event reaches: a fault is one
            if not unsupported(check):
                self._compiler.compile(check)
        settled = {circumstance: settle(condition, circumstance) for circumstance in CIRCUMSTANCES}
        possible = {circumstance: node for circumstance, node in settled.items() if node != FALSE}
        if self._reports_unsupported(definition, possible):
            return
        if not possible:
            asked = (check.spot.place for check in checks(condition) if check.field == "evt.type")
            place = next(asked, definition.condition.place())
            self._unsupported.append(Unsupported(definition.name, "every event that it waits for", place))
            return
        enforce = definition.enforce
        denials = denials_of(definition.name, enforce, condition, list(possible)) if enforce else ()
        if definition.enabled:
            self._add(definition, possible)
            self._watch(definition, condition, list(possible))
            self._denials += denials

    def _reports_unsupported(self, definition: RuleDefinition, possible: dict[Circumstance, Node]) -> bool:
        """Whether what is left of the condition asks for what is not to be had."""
        if definition.source != "syscall":
            self._unsupported.append(Unsupported(definition.name, f"source {definition.source}", definition.place))
            return True
        asked = (check for node in possible.values() for check in checks(node))
        missing = {what: check for check in asked if (what := unsupported(check))}
        self._unsupported += (Unsupported(definition.name, what, c.spot.place) for what, c in missing.items())
        return bool(missing)

    def _add(self, definition: RuleDefinition, possible: dict[Circumstance, Node]) -> None:
        rule = Rule(
            definition.name,
            definition.description,
            definition.priority,
            definition.tags,
            Template.of(definition.output.value),
            definition.place,
            frozenset(circumstance.kind for circumstance in possible),
        )
        self._rules[rule.name] = rule
        missing = missing_fields(definition.output)
        self._unfilled += (Unfilled(rule.name, name, place) for name, place in missing.items())
        for circumstance, node in possible.items():
            judged = (rule, self._compiler.compile(node))
            if circumstance.kind == "open":
                self._opens[circumstance.access].append(judged)
            else:
                self._tests.setdefault(circumstance.kind, []).append(judged)

    def _watch(self, definition: RuleDefinition, condition: Node, possible: list[Circumstance]) -> None:
        spots, gaps = wanted(condition, possible)
        for spot, interest in spots.items():
            self._spots[spot] = self._spots.get(spot, Interest(0)) | interest
        self._unbounded += (Unbounded(definition.name, gap, definition.place) for gap in gaps)

    def judge(self, event: Event) -> list[Alert]:
        """What the rules say of an event: an alert for each that matches, in the order of the files."""
        self._count += 1
        tests = self._opens[event.flags & 3] if event.kind == "open" else self._tests.get(event.kind, ())
        if not tests and not event.denied:
            return []
        facts = Facts(event, self._names, self._count)
        found = [rule for rule, test in tests if test(facts)]
        if event.denied and (rule := self._rules.get(event.denied)) and rule not in found:
            found.insert(0, rule)  # the kernel has decided that it matches
        return [_alert(rule, facts) for rule in found]

    def watches(self) -> tuple[Watch, ...]:
        """Which files the sensor has to watch for these rules."""
        return watches_of(self._spots)

    def denials(self) -> tuple[Denial, ...]:
        """What the kernel has to refuse for these rules."""
        return tuple(self._denials)


def _alert(rule: Rule, facts: Facts) -> Alert:
    text, fields = rule.output.fill(facts)
    denied = bool(facts.event.denied)
    return Alert("rules", rule.name, rule.priority, text, facts.event.time, fields, rule.tags, denied)


def load_rules(paths: Sequence[Path], names: Names | None = None) -> RuleSet:
    """The rules of some files; later files extend and override earlier ones.

    Args:
        paths: of Falco rule files, in order.
        names: of users and groups; the machine's own unless given.

    Raises:
        RulesError: something in them is wrong; all faults at once.
    """
    definitions = Definitions()
    for path in paths:
        definitions.files.append(str(path))
        try:
            items, problems = read_document(path)
        except Fault as fault:
            definitions.problems.append(fault.problem)
            continue
        definitions.problems += problems
        for item in items:
            definitions.add(item)
    return RuleSet(definitions, names)
