"""Comparisons: a word of a rule and an operator, made into a function of a field's value."""

from __future__ import annotations

import fnmatch
import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from .fields import Sort
from .problems import Fault
from .tree import Check, Operand

Test = Callable[[Any], bool]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Known to Falco. A regular expression that some path makes slow would stop the agent; the others look into buffers.
UNSUPPORTED = frozenset({"regex", "bcontains", "bstartswith"})
COSTS = {"glob": 3, "iglob": 4, "pmatch": 2, "contains": 2, "icontains": 3, "endswith": 1, "startswith": 1}
EXTENDED = re.compile(r"[?*+@!]\(|\\")


def make_test(check: Check, sort: Sort) -> Test:
    """What decides about one value of the field; never called with None.

    Raises:
        Fault: field, operator and words do not fit each other.
    """
    if check.operator == "exists":
        return lambda value: True
    return {"text": _text, "number": _number, "truth": _truth, "address": _address, "network": _network}[sort](check)


def _refuse(check: Check, operators: str, kind: str) -> Fault:
    why = f"{check.whole_field} is {kind}"
    return Fault(check.spot.place, f"{check.operator} does not fit {check.whole_field}", why, f"use one of {operators}")


def _bad_word(operand: Operand, kind: str) -> Fault:
    return Fault(operand.spot.place, f"{operand.word!r} is no {kind}", "the field is one", f"write a {kind}")


def _text(check: Check) -> Test:
    if check.operator in ("in", "intersects"):
        known = frozenset(check.words)
        return lambda value: value in known
    if check.operator == "pmatch":
        return below(check.words)
    if check.operator in ("glob", "iglob"):
        fits = pattern(check.operands[0], re.IGNORECASE if check.operator == "iglob" else 0).match
        return lambda value: fits(value) is not None
    if check.operator not in OF_TEXTS:
        operators = "= != in contains icontains startswith endswith glob pmatch exists"
        raise _refuse(check, operators, "a text")
    return OF_TEXTS[check.operator](check.words[0])


def _contains_in_any_case(word: str) -> Test:
    lower = word.lower()
    return lambda value: lower in value.lower()


OF_TEXTS: Mapping[str, Callable[[str], Test]] = {
    "=": lambda word: lambda value: value == word,
    "!=": lambda word: lambda value: value != word,
    "startswith": lambda word: lambda value: value.startswith(word),
    "endswith": lambda word: lambda value: value.endswith(word),
    "contains": lambda word: lambda value: word in value,
    "icontains": _contains_in_any_case,
}


def pattern(operand: Operand, flags: int = 0) -> re.Pattern[str]:
    """The shell's pattern: ``*`` fits slashes too, as in Falco.

    Raises:
        Fault: it uses what only some shells know.
    """
    extended = EXTENDED.search(operand.word)
    if extended:
        why = f"{extended.group()} is not known here"
        raise Fault(operand.spot.place, f"pattern {operand.word!r}", why, "use * ? and [a-z]; several patterns with or")
    return re.compile(fnmatch.translate(operand.word.replace("[^", "[!")), flags)


def below(words: Sequence[str]) -> Test:
    """Whether a path is one of these or lies below one (Falco's pmatch; parts may be patterns)."""
    plain = frozenset(word.rstrip("/") or "/" for word in words if not re.search(r"[*?[]", word))
    patterned = [_component_pattern(word) for word in words if re.search(r"[*?[]", word)]

    def test(path: str) -> bool:
        if "/" in plain and path.startswith("/"):
            return True
        part = path
        while part:
            if part in plain:
                return True
            part = part.rpartition("/")[0]
        return any(fits.match(path) for fits in patterned)

    return test


def _component_pattern(word: str) -> re.Pattern[str]:
    # fnmatch writes (?s:...)\Z; what is between parts must not cross a slash.
    parts = (fnmatch.translate(part)[4:-3].replace(".*", "[^/]*") for part in word.rstrip("/").split("/"))
    return re.compile("/".join(parts) + r"(?:/.*)?\Z", re.DOTALL)


def _number(check: Check) -> Test:
    numbers = [_as_number(operand) for operand in check.operands]
    if check.operator in ("in", "intersects"):
        known = frozenset(numbers)
        return lambda value: value in known
    if check.operator not in OF_NUMBERS:
        raise _refuse(check, "= != < <= > >= in exists", "a number")
    return OF_NUMBERS[check.operator](numbers[0])


OF_NUMBERS: Mapping[str, Callable[[float], Test]] = {
    "=": lambda number: lambda value: value == number,
    "!=": lambda number: lambda value: value != number,
    "<": lambda number: lambda value: value < number,
    "<=": lambda number: lambda value: value <= number,
    ">": lambda number: lambda value: value > number,
    ">=": lambda number: lambda value: value >= number,
}


def _as_number(operand: Operand) -> float:
    try:
        return int(operand.word, 0)
    except ValueError:
        pass
    if not re.fullmatch(r"[+-]?\d{1,18}(\.\d{0,18})?", operand.word, re.ASCII):
        raise _bad_word(operand, "number")
    return float(operand.word)


def _truth(check: Check) -> Test:
    wanted = {"true": True, "false": False}
    for operand in check.operands:
        if operand.word.lower() not in wanted:
            raise _bad_word(operand, "truth value (true, false)")
    words = frozenset(wanted[word.lower()] for word in check.words)
    if check.operator in ("=", "in"):
        return lambda value: value in words
    if check.operator == "!=":
        return lambda value: value not in words
    raise _refuse(check, "= != in exists", "true or false")


def _address(check: Check) -> Test:
    known = frozenset(str(_as_network(operand, single=True).network_address) for operand in check.operands)
    if check.operator in ("=", "in", "intersects"):
        return lambda value: value in known
    if check.operator == "!=":
        return lambda value: value not in known
    raise _refuse(check, "= != in exists; of networks, fd.net in (10.0.0.0/8)", "an address")


def _network(check: Check) -> Test:
    networks = tuple(_as_network(operand) for operand in check.operands)

    def within(value: str) -> bool:
        address = _parsed(value)
        return address is not None and any(address in network for network in networks)

    if check.operator in ("=", "in", "intersects"):
        return within
    if check.operator == "!=":
        return lambda value: not within(value)
    raise _refuse(check, "= != in exists", "a network")


def _as_network(operand: Operand, *, single: bool = False) -> Network:
    word = operand.word.removeprefix("::ffff:") if "." in operand.word else operand.word
    try:
        network = ipaddress.ip_network(word, strict=False)
    except ValueError:
        raise _bad_word(operand, "address" if single else "network") from None
    if single and network.num_addresses != 1:
        raise _bad_word(operand, "single address")
    return network


@lru_cache(maxsize=4096)
def _parsed(value: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(value)
    except ValueError:
        return None
