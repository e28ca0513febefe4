"""Charts as SVG, written without a library: a few rows of dots with intervals, and lines of quantiles."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from .analysis import Comparison

WIDTH, LEFT, RIGHT, ROW, TOP = 860, 250, 120, 20, 56
COLOURS = {"better": "#1a7f37", "worse": "#b42318", "same": "#57606a", "more": "#6639ba", "fewer": "#6639ba"}
PLAIN = "#9a6700"
BEYOND = 3.0  # the axis goes so many times beyond the outermost ratio at most
LINES = ("#0969da", "#1a7f37", "#b42318", "#6639ba", "#9a6700", "#bf3989", "#57606a", "#1b7c83")


def _text(x: float, y: float, words: str, anchor: str = "start", more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(words)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}"/>'


def _document(height: float, parts: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:.0f}"'
    style = 'font-family="sans-serif" font-size="12"'
    return "\n".join([f"{head} {style}>", '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>\n"])


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers on a logarithmic axis; as few as can be read."""
    steps = [1, 2, 5] if high / low < 100 else [1]
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [step * 10.0**decade for decade in decades for step in steps if low <= step * 10.0**decade <= high]


def ratios(title: str, comparisons: Sequence[Comparison]) -> str:
    """Ratios to the reference on a logarithmic axis, one row for each workload and configuration.

    An interval that reaches far beyond all ratios ends at the axis' end: two pairs allow nearly everything.
    """
    rows = [(each, each.interval) for each in comparisons if each.interval]
    dots = [1.0, *(found.ratio for _, found in rows)]
    ends = [end for _, found in rows for end in (found.low, found.high) if end]
    low = max(min(dots) / BEYOND, min([*dots, *ends]) / 1.1)
    high = min(max(dots) * BEYOND, max([*dots, *ends]) * 1.1)

    def at(ratio: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log(min(max(ratio, low), high) / low) / math.log(high / low)

    bottom = TOP + ROW * len(rows)
    parts = [_text(12, 22, title, more=' font-size="15" font-weight="bold"')]
    for tick in {1.0, *_ticks(low, high)}:
        parts.append(_line(at(tick), TOP - 8, at(tick), bottom, "#57606a" if tick == 1 else "#d8dee4"))
        parts.append(_text(at(tick), bottom + 16, f"{tick:g}", "middle"))
    for number, (each, found) in enumerate(rows):
        y, colour = TOP + ROW * number + ROW / 2, COLOURS.get(each.verdict, PLAIN)
        parts.append(_text(LEFT - 12, y + 4, f"{each.workload}  {each.configuration}", "end"))
        if found.low and found.high:
            parts.append(_line(at(found.low), y, at(found.high), y, colour, 2))
        parts.append(f'<circle cx="{at(found.ratio):.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>')
        parts.append(_text(WIDTH - RIGHT + 10, y + 4, f"{found.ratio:.2f} {each.verdict}"))
    return _document(bottom + 30, parts)


def quantiles(title: str, unit: str, lines: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Lines of (share, value) points: the share on an axis that stretches its upper end, values logarithmic."""
    points = [value for line in lines.values() for _, value in line if value > 0] or [1.0]
    low, high = min(points) / 1.2, max(points) * 1.2
    height, left, right = 380.0, 70.0, 190.0

    def across(share: float) -> float:
        return left + (WIDTH - left - right) * min(3.0, -math.log10(max(1e-9, 1 - share))) / 3

    def up(value: float) -> float:
        return height - 30 - (height - 30 - TOP) * math.log(value / low) / math.log(high / low)

    parts = [_text(12, 22, title, more=' font-size="15" font-weight="bold"'), _text(12, 42, unit)]
    for share in (0.0, 0.5, 0.9, 0.99, 0.999):
        parts.append(_line(across(share), TOP, across(share), height - 30, "#d8dee4"))
        parts.append(_text(across(share), height - 12, f"{share * 100:g} %", "middle"))
    for tick in _ticks(low, high):
        parts.append(_line(left, up(tick), WIDTH - right, up(tick), "#d8dee4"))
        parts.append(_text(left - 6, up(tick) + 4, f"{tick:g}", "end"))
    for number, (name, line) in enumerate(lines.items()):
        colour = LINES[number % len(LINES)]
        path = " ".join(f"{across(share):.1f},{up(value):.1f}" for share, value in line if value > 0)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(_line(WIDTH - right + 14, TOP + 18 * number, WIDTH - right + 34, TOP + 18 * number, colour, 3))
        parts.append(_text(WIDTH - right + 40, TOP + 18 * number + 4, name))
    return _document(height, parts)
