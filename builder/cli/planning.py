"""How a plan reads on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from builder.cli.output import say, table
from builder.cli.text import duration
from builder.data.plan import Component, Expected, Plan

REASONS = 4  # told for one component; of more their number is told


def print_plan(plan: Plan) -> None:
    """A row for each component, then how long building what is not kept may take."""
    rows = []
    for item in plan.components:
        state, why = "kept" if item.cached else "to build", _why(item.stale)
        estimate = _estimate(item)
        if not item.cached and item not in plan.to_build:
            state, estimate, why = "not needed", "", "what is made with it is kept"
        rows.append((item.name, item.key[:12], state, estimate, why))
    table(("component", "key", "state", "estimate", "why"), rows)
    if any(item.estimate for item in plan.to_build):
        say(_expected(plan.expected))
    elif plan.to_build:
        say("expected: unknown, no earlier run")


def _why(reasons: Sequence[str]) -> str:
    more = len(reasons) - REASONS
    return "; ".join([*reasons[:REASONS], *([f"and {more} more, which --json lists"] if more > 0 else [])])


def _estimate(component: Component) -> str:
    if component.cached:
        return ""
    if not component.estimate:
        return "no earlier run"
    told = duration(component.estimate.seconds)
    return told if component.estimate.own else f"{told} (other profiles)"


def _expected(expected: Expected) -> str:
    """``expected: 2 min 05 s, parts beside one another; 3 min 10 s one after another; downloads not counted``."""
    told = [duration(expected.alone)]
    if expected.together < expected.alone:
        told = [f"{duration(expected.together)}, parts beside one another", f"{told[0]} one after another"]
    told.append(f"not counted: {', '.join([*expected.unknown, 'downloads'])}")
    return f"expected: {'; '.join(told)}"
