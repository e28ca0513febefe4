"""Puts macros and lists into conditions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from .definitions import Definitions
from .parse import parse
from .problems import Fault, Problem
from .text import Text
from .tree import And, Check, Name, Node, Not, Operand, Or, Spot

# A macro that calls a macro twice, which calls another twice ... is short to write and endless to run.
MOST_CHECKS = 20_000
MOST_ITEMS = 20_000
MOST_DEPTH = 32


class Broken(Exception):
    """Something that was called is wrong, which has been told already."""


class Expander:
    """Makes whole trees of conditions; ``problems`` collects what is wrong with macros and lists."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self.problems: list[Problem] = []
        self._macros: dict[str, tuple[Node, int] | None] = {}
        self._lists: dict[str, tuple[Operand, ...] | None] = {}
        self._open: list[str] = []
        for name in definitions.lists:
            self._try(self._list, name)
        for name in definitions.macros:
            self._try(self._macro, name)

    def _try(self, expand: Callable[[str, Spot | None], object], name: str) -> None:
        try:
            expand(name, None)
        except Fault as fault:
            self.problems.append(fault.problem)
        except Broken:
            pass

    def expand(self, condition: Text) -> Node:
        """The tree of a condition without names of macros and lists.

        Raises:
            Fault: it does not follow the language, or calls what is not there.
            Broken: it calls something that is wrong itself.
        """
        return self._bounded(self._node(parse(condition)), Spot(condition))

    def expand_tree(self, tree: Node, spot: Spot) -> Node:
        """The same for a tree that is there already."""
        return self._bounded(self._node(tree), spot)

    def _bounded(self, found: tuple[Node, int], spot: Spot) -> Node:
        if found[1] > MOST_CHECKS:
            why = f"{found[1]} comparisons, more than {MOST_CHECKS}"
            raise Fault(spot.place, "condition too large", why, "call macros once; put words into lists")
        return found[0]

    def _node(self, node: Node) -> tuple[Node, int]:
        """The tree, and how many comparisons it is when written out."""
        match node:
            case Check():
                return self._check(node), 1
            case Name(name, spot):
                return self._macro(name, spot)
            case Not(part):
                inner, size = self._node(part)
                return Not(inner), size
            case And(parts) | Or(parts):
                found = [self._node(part) for part in parts]
                return type(node)(tuple(part for part, _ in found)), sum(size for _, size in found)
        return node, 0

    def _macro(self, name: str, spot: Spot | None) -> tuple[Node, int]:
        if name not in self._macros:
            macro = self._definitions.macros.get(name)
            if not macro:
                what = "a list" if name in self._definitions.lists else "nothing"
                place = spot.place if spot else self._definitions.lists[name].place
                raise Fault(place, f"no macro {name!r}", f"{what} is called so", "define the macro, or compare a field")
            self._enter(f"macro {name}", spot or Spot(macro.condition))
            self._macros[name] = None  # stays when it is broken
            try:
                tree, size = self._node(parse(macro.condition))
            finally:
                self._open.pop()
            self._macros[name] = self._bounded((tree, size), Spot(macro.condition)), size
        found = self._macros[name]
        if found is None:
            if f"macro {name}" in self._open and spot:
                raise self._circle(f"macro {name}", spot)
            raise Broken
        return found

    def _check(self, check: Check) -> Check:
        if not any(not operand.quoted and operand.word in self._definitions.lists for operand in check.operands):
            return check
        if check.operator not in ("in", "pmatch", "intersects"):
            return check
        words: list[Operand] = []
        for operand in check.operands:
            words += self._words(operand)
        return replace(check, operands=tuple(words))

    def _words(self, operand: Operand) -> tuple[Operand, ...]:
        if operand.quoted or operand.word not in self._definitions.lists:
            return (operand,)
        return self._list(operand.word, operand.spot)

    def _list(self, name: str, spot: Spot | None) -> tuple[Operand, ...]:
        if name not in self._lists:
            definition = self._definitions.lists[name]
            here = [_item(item.text) for item in definition.items]
            self._enter(f"list {name}", spot or (here[0].spot if here else Spot(Text("", ()))))
            self._lists[name] = None
            words: dict[str, Operand] = {}
            try:
                for item in here:
                    words.update((word.word, word) for word in self._words(item))
                    if len(words) > MOST_ITEMS:
                        why = f"more than {MOST_ITEMS}"
                        raise Fault(definition.place, f"list {name!r} has too many items", why, "use patterns")
            finally:
                self._open.pop()
            self._lists[name] = tuple(words.values())
        found = self._lists[name]
        if found is None:
            if f"list {name}" in self._open and spot:
                raise self._circle(f"list {name}", spot)
            raise Broken
        return found

    def _enter(self, what: str, spot: Spot) -> None:
        self._open.append(what)
        if len(self._open) > MOST_DEPTH:
            self._open.pop()
            raise Fault(spot.place, f"{what} nested too deeply", f"more than {MOST_DEPTH} levels", "call fewer")

    def _circle(self, what: str, spot: Spot) -> Fault:
        way = " calls ".join((*self._open[self._open.index(what) :], what))
        return Fault(spot.place, f"{what} means itself", way, "take one of the calls away")


def _item(text: Text) -> Operand:
    """A list's item: quotes inside of YAML's text belong to the language of conditions."""
    word = text.value
    quoted = len(word) > 1 and word[0] == word[-1] and word[0] in "\"'"
    return Operand(word[1:-1] if quoted else word, Spot(text), quoted)
