"""Why a kernel's configuration is not what fragments ask for: the answers of ``why.c``, told as problems.

``why.c`` (``builder/templates/kernel-config``) asks the kernel's own Kconfig and says what the states mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from pydantic import TypeAdapter

from builder.data.fragment import Setting, Unmet, unmet
from builder.data.model import Frozen
from builder.foundation.errors import Problem

State = Literal["undefined", "type", "range", "selected", "chosen", "limited", "promptless", "default", "free"]
PREFER = "mark the line `# preferred`"
# Of so many symbols that switch one on (kinds of debug information, say) the first is offered; of more, each is for
# something else.
_FEW = 4


class Comparison(Frozen):
    """A part of a dependency that is no single symbol's: a version, or a test of the compiler (``n``)."""

    expression: str
    needed: str


class Alternatives(Frozen):
    """Lists of reasons, of which it is enough that one list no longer holds."""

    any: tuple[tuple[Reason, ...], ...]


class Reason(Frozen):
    """A symbol that stands in the way: the value it has and the one that is needed."""

    symbol: str
    value: str
    needed: str
    state: State
    by: tuple[str, ...] = ()
    chosen: str = ""
    because: tuple[Reason | Alternatives | Comparison, ...] = ()


class Answer(Frozen):
    """One symbol whose value is not the one that was asked for."""

    symbol: str
    value: str
    wanted: str
    type: str
    state: State
    by: tuple[str, ...] = ()
    chosen: str = ""
    low: str = ""
    high: str = ""
    because: tuple[Reason | Alternatives | Comparison, ...] = ()


class Names(Frozen):
    """All symbols that the kernel's Kconfig defines; told when one was asked for that it does not."""

    names: tuple[str, ...]


Because = Reason | Alternatives | Comparison
_LINE: TypeAdapter[Answer | Names] = TypeAdapter(Answer | Names)


@dataclass(frozen=True)
class Verdict:
    """What came of the settings.

    Attributes:
        problems: one for each required setting that is not met; the build stops if there are any.
        notes: one line for each preferred setting that is not met.
    """

    problems: tuple[Problem, ...]
    notes: tuple[str, ...]


def judge(settings: Sequence[Setting], final: Mapping[str, str], answers: str, kernel: str) -> Verdict:
    """Holds the final configuration against what the fragments ask for.

    Args:
        settings: of all fragments, merged.
        final: symbol to value, as :func:`builder.data.fragment.parse_config` reads it.
        answers: what ``why`` printed for these settings and this configuration.
        kernel: what the kernel is called in messages, as in ``linux 6.12 for arm64``.
    """
    known: dict[str, Answer] = {}
    names: tuple[str, ...] = ()
    for line in answers.splitlines():
        parsed = _LINE.validate_json(line)
        if isinstance(parsed, Names):
            names = parsed.names
        else:
            known[parsed.symbol] = parsed
    teller = _Teller({setting.symbol: setting for setting in settings}, names, kernel)
    problems, notes = [], []
    for item in unmet(settings, final):
        problem = teller.problem(item, known[item.setting.symbol])
        if item.setting.required:
            problems.append(problem)
        else:
            notes.append(f"{problem.where}: CONFIG_{item.setting.symbol} is only preferred: {problem.why}")
    return Verdict(tuple(problems), tuple(notes))


@dataclass(frozen=True)
class _Teller:
    """Puts answers into words; knows which fragment asks for which symbol."""

    settings: Mapping[str, Setting]
    names: Sequence[str]
    kernel: str

    def problem(self, item: Unmet, answer: Answer) -> Problem:
        setting = item.setting
        what = f"CONFIG_{setting.symbol} is not what the fragments ask for"
        why = f"wanted {setting.value}, got {item.got}"
        if answer.state == "undefined":
            what = f"{self.kernel} has no CONFIG_{setting.symbol}"
            near = get_close_matches(setting.symbol, self.names, n=3, cutoff=0.75)
            meant = f"write {' or '.join(f'CONFIG_{name}' for name in near)}, " if near else ""
            return Problem(what, setting.place, why, f"{meant}remove the line, or make it one for other architectures")
        cause, remedy = self._told(answer)
        return Problem(what, setting.place, f"{why}; {cause}", f"{remedy}, or {PREFER}")

    def _told(self, answer: Answer) -> tuple[str, str]:
        """Cause and remedy of a symbol that exists."""
        remedy = "remove the line"
        match answer.state:
            case "type":
                cause = f"it is {'on or off, never a module' if answer.type == 'bool' else f'of type {answer.type}'}"
                remedy = "write a value of its type"
            case "range":
                cause, remedy = f"it may be {answer.low} to {answer.high}", "write a number in this range"
            case "selected":
                cause = f"{self._list(answer.by)} forces it"
                lenient = (answer.wanted, answer.value) == ("m", "y")
                remedy = "write `# or y` behind it" if lenient else f"switch that off, {remedy}"
            case "chosen" if answer.chosen == answer.symbol:
                cause, remedy = "it is the one that was taken of a choice", "ask for another of the choice"
            case "chosen":
                cause = f"only one of a choice can be, {self._list([answer.chosen])} was taken"
                remedy = "ask for one of them only"
            case "limited":
                cause = self._depends(answer.because)
                remedy = self._remedy(answer.because) or remedy
            case "promptless":
                depends = self._depends(answer.because)
                only = f"only {self._list(answer.by) or 'architecture or compiler'} can switch it on"
                cause = f"{only}; {depends}" if depends else only
                remedy = "ask for what switches it on instead" if answer.by else remedy
            case "default":
                cause = "nobody can set it, the kernel does"
            case _:
                cause, remedy = "Kconfig would allow it", "write the value as Kconfig has it"
        return cause, remedy

    def _depends(self, reasons: Sequence[Because]) -> str:
        causes = self._causes(reasons)
        return f"it depends on {' and on '.join(causes)}" if causes else ""

    def _list(self, symbols: Sequence[str]) -> str:
        """Symbols with the places of the fragments that ask for them."""
        places = {symbol: self._place(symbol, "y") or self._place(symbol, "m") for symbol in symbols}
        return ", ".join(f"CONFIG_{symbol}{f' (as {place} asks)' if place else ''}" for symbol, place in places.items())

    def _place(self, symbol: str, value: str) -> str:
        """Where a fragment asks for that value; empty when none does."""
        setting = self.settings.get(symbol)
        return setting.place if setting and setting.met_by(value) else ""

    def _causes(self, reasons: Sequence[Because]) -> list[str]:
        """In words; what another one of them leads to anyway is left out."""
        deeper = {below.symbol for reason in reasons for below in _below(reason)}
        shown = [item for item in reasons if not (isinstance(item, Reason) and item.symbol in deeper)]
        return list(dict.fromkeys(self._cause(reason) for reason in shown))

    def _cause(self, reason: Because) -> str:
        if isinstance(reason, Comparison):
            if reason.expression in ("n", "m"):
                return "something that the compiler or the architecture lacks"
            return f"{reason.expression} (is {'not ' if reason.needed != 'n' else ''}so)"
        if isinstance(reason, Alternatives):
            ways = _ways(reason)
            if (symbol := _only_symbol(ways)) is not None:
                needed = " or ".join(dict.fromkeys(_needed(way[0]) for way in ways if isinstance(way[0], Reason)))
                return f"CONFIG_{symbol.symbol}={symbol.value} (needs {needed})"
            return f"either {' or on '.join(dict.fromkeys(' and on '.join(self._causes(way)) for way in ways))}"
        place = self._place(reason.symbol, reason.value)
        asked = f", as {place} asks" if place else ""
        return f"CONFIG_{reason.symbol}={reason.value} (needs {_needed(reason)}){asked}{self._end(reason)}"

    def _end(self, reason: Reason) -> str:
        if reason.state == "undefined":
            return ", which this architecture does not have"
        if reason.state == "selected":
            return f", which {self._list(reason.by)} forces"
        if reason.state == "chosen" and reason.chosen != reason.symbol:
            return f", instead of which {self._list([reason.chosen])} is chosen"
        if reason.state == "default":
            return ", which nobody can set"
        causes = self._causes(reason.because)
        depends = f", which depends on {' and on '.join(causes)}" if causes else ""
        if reason.state == "promptless":
            return f", which only {self._list(reason.by) or 'architecture or compiler'} can switch on{depends}"
        return depends

    def _remedy(self, reasons: Sequence[Because]) -> str:
        """What to add to a fragment; empty when no fragment can help."""
        wanted = _wanted(reasons) or {}
        against = [self.settings[symbol] for symbol in wanted if symbol in self.settings]
        # What is only preferred gives way.
        excluded = [item.place for item in against if item.required and not item.met_by(wanted[item.symbol])]
        if excluded:
            return f"decide between it and {', '.join(excluded)}"
        return f"add {', '.join(f'CONFIG_{symbol}={value}' for symbol, value in wanted.items())}" if wanted else ""


def _below(reason: Because) -> Iterator[Reason]:
    """All symbols that a reason leads to, itself left out."""
    groups: Iterable[Sequence[Because]] = ()
    if isinstance(reason, Alternatives):
        groups = reason.any
    elif isinstance(reason, Reason):
        groups = [reason.because]
    for item in (item for group in groups for item in group):
        if isinstance(item, Reason):
            yield item
        yield from _below(item)


def _needed(reason: Reason) -> str:
    return "m or y" if (reason.value, reason.needed) == ("n", "m") else reason.needed


def _only_symbol(ways: Sequence[Sequence[Because]]) -> Reason | None:
    """The symbol that all alternatives are about, as in ``VXLAN || !VXLAN``: y and n will do, m will not."""
    first = ways[0][0] if ways and ways[0] else None
    if isinstance(first, Reason) and all(
        len(way) == 1 and isinstance(way[0], Reason) and way[0].symbol == first.symbol for way in ways
    ):
        return first
    return None


def _ways(reason: Alternatives) -> list[tuple[Reason | Alternatives | Comparison, ...]]:
    """The alternatives that a person would take: COMPILE_TEST builds drivers for machines that cannot have them."""
    return [
        way for way in reason.any if not any(isinstance(item, Reason) and item.symbol == "COMPILE_TEST" for item in way)
    ]


def _wanted(reasons: Sequence[Because]) -> dict[str, str] | None:
    """Symbol to value of what a fragment has to set so that the reasons are gone; None when none can."""
    found: dict[str, str] = {}
    for reason in reasons:
        more: dict[str, str] | None = None
        if isinstance(reason, Alternatives):
            more = next((way for way in map(_wanted, _ways(reason)) if way is not None), None)
        elif isinstance(reason, Reason):
            more = _set(reason)
        if more is None:
            return None
        found |= more
    return found


def _set(reason: Reason) -> dict[str, str] | None:
    below = _wanted(reason.because)
    match reason.state:
        case "limited" | "free" | "chosen":
            own = {reason.symbol: reason.needed}
        case "promptless" if 0 < len(reason.by) <= _FEW:
            own = {reason.by[0]: "y"}
        case "selected":
            own = dict.fromkeys(reason.by, "n")
        case _:
            return None
    return None if below is None else below | own
