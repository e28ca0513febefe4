"""Reads what tools print. Text in, numbers out; :class:`OutputError` says what was missing."""

from __future__ import annotations

import json
import re
from typing import Any

from .analysis import geometric_mean

_HACKBENCH = re.compile(r"^Time: ([0-9.]+)$", re.MULTILINE)
_STRESS = re.compile(
    r"^stress-ng: metrc: \[\d+\] (\S+)\s+(\d+)\s+([0-9.]+)\s+[0-9.]+\s+[0-9.]+\s+([0-9.]+)", re.MULTILINE
)


class OutputError(Exception):
    """A tool printed something else than what it should."""


def hackbench(text: str, messages: int) -> dict[str, float]:
    """Messages in a second, from the ``Time:`` of hackbench that sent ``messages``."""
    found = _HACKBENCH.search(text)
    if not found:
        raise OutputError(f"hackbench printed no line of its time: {_short(text)}")
    return {"throughput": messages / _positive(found[1], "hackbench's time")}


def perf_simple(text: str, operations: int) -> dict[str, float]:
    """Operations in a second, from ``perf bench --format simple``: seconds alone on the last line."""
    lines = text.split()
    if not lines:
        raise OutputError("perf bench printed nothing")
    return {"throughput": operations / _positive(lines[-1], "perf bench's time")}


def stress_ng(text: str) -> dict[str, float]:
    """Geometric mean of the stressors' bogus operations in a second of the clock, from ``--metrics-brief``."""
    rates = {name: float(rate) for name, _, _, rate in _STRESS.findall(text)}
    if not rates:
        raise OutputError(f"stress-ng printed no metrics: {_short(text)}")
    if idle := sorted(name for name, rate in rates.items() if rate <= 0):
        raise OutputError(f"stress-ng's {', '.join(idle)} did nothing in this time; give it more")
    return {"throughput": geometric_mean(rates.values()), **{f"{name}_rate": rate for name, rate in rates.items()}}


def own(text: str) -> dict[str, Any]:
    """What a program of ours printed: one JSON object, on the last line."""
    lines = text.strip().splitlines()
    try:
        found = json.loads(lines[-1])
    except (IndexError, ValueError):
        raise OutputError(f"the workload printed no result: {_short(text)}") from None
    if not isinstance(found, dict):
        raise OutputError(f"the workload's result is no object: {_short(lines[-1])}")
    return found


def _positive(text: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise OutputError(f"{what} is no number: {_short(text)}") from None
    if not value > 0:
        raise OutputError(f"{what} is {value:g} s: too short to be measured, give it more work")
    return value


def _short(text: str) -> str:
    return repr(text[-200:])
