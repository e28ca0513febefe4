"""From phases to ratios: adjusted over static, for each measure of each unit, with an interval of confidence."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from lichen_agent import intervals
from lichen_agent.escape import escape

# Below it a measure says nothing: a share of time of 0.01 %, a microsecond, a unit of work.
LEAST: Mapping[str, float] = {"stalled": 1e-4, "lateness": 1e-3, "processor": 1e-4, "work": 1.0}


def ratio(pairs: Sequence[tuple[float, float]], least: float) -> intervals.Interval | None:
    """Geometric mean of adjusted over static, and its interval of 95 % confidence by Student's t on the logarithms.

    Args:
        pairs: (adjusted, static) of each round.
        least: what is smaller counts as this.

    Returns:
        None when there are fewer than two pairs, or nothing was above ``least`` in any.
    """
    if len(pairs) < 2 or all(max(pair) <= least for pair in pairs):
        return None
    return intervals.ratio([(max(static, least), max(adjusted, least)) for adjusted, static in pairs])


def ratios(phases: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of all measures that every phase has; phases as :func:`lichen_resources.compare.compare` keeps them."""
    rounds: dict[int, dict[str, Mapping[str, Any]]] = {}
    for phase in phases:
        rounds.setdefault(phase["round"], {})[phase["mode"]] = phase["units"]
    whole = [modes for modes in rounds.values() if {"adjusted", "static"} <= set(modes)]
    found = []
    for unit in whole[0]["static"] if whole else {}:
        for measure in whole[0]["static"][unit]["measures"]:
            pairs = [
                tuple(modes[mode].get(unit, {}).get("measures", {}).get(measure) for mode in ("adjusted", "static"))
                for modes in whole
            ]
            complete = [pair for pair in pairs if None not in pair]
            value = ratio(complete, LEAST[measure.split()[0]])
            means = [statistics.fmean(side) for side in zip(*complete, strict=True)] if complete else [None, None]
            row = {"unit": unit, "role": whole[0]["static"][unit]["role"], "measure": measure, "rounds": len(complete)}
            row |= {"adjusted": means[0], "static": means[1]}
            found.append(row | {"ratio": value and value[0], "low": value and value[1], "high": value and value[2]})
    return found


def comparison_text(result: Mapping[str, Any]) -> str:
    """A table for people."""
    head = ("unit", "measure", "adjusted", "static", "ratio", "95 % confidence", "")
    rows = [head]
    for row in result["ratios"]:
        means = [f"{row[side]:.4g}" if row[side] is not None else "-" for side in ("adjusted", "static")]
        name = escape(f"{row['unit']} ({row['role']})", 256)
        if row["ratio"] is None:
            rows.append((name, row["measure"], *means, "-", "-", "too little to tell"))
            continue
        apart = "" if row["low"] <= 1 <= row["high"] else "differs"
        between = f"{row['low']:.2f} to {row['high']:.2f}"
        rows.append((name, row["measure"], *means, f"{row['ratio']:.2f}", between, apart))
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    told = (
        f"{result['rounds']} rounds of twice {result['seconds']} s; stalled: share of the time; lateness: milliseconds"
    )
    return "\n".join([told, *lines])
