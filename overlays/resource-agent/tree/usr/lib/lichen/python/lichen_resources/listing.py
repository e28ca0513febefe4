"""What the command prints for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lichen_agent.escape import escape

from .units import UNLIMITED


def status_text(told: Mapping[str, Any]) -> str:
    """The agent's status, a paragraph for each unit."""
    lines = [f"mode: {escape(str(told['mode']))}"]
    if told["trouble"]:
        lines.append(f"TROUBLE: {escape(str(told['trouble']))}")
    lines.append(f"changes in the last minute: {told['changes_last_minute']} of at most {told['changes_per_minute']}")
    for unit in told["units"]:
        lines += ["", *_unit_lines(unit)]
    return "\n".join(lines)


def _unit_lines(unit: Mapping[str, Any]) -> list[str]:
    lines = [f"{escape(unit['unit'], 256)} ({unit['role']})"]
    lines += [f"  {escape(note)}" for note in unit["notes"]]
    for resource, pressure in unit["pressure"].items():
        target = unit["targets"].get(resource)
        counted = "full" if resource == "memory" else "some"
        allowed = f", allowed {target:g} % ({counted})" if target is not None else ""
        lines.append(f"  {resource} pressure: some {pressure['some']:.1f} %, full {pressure['full']:.1f} %{allowed}")
    for knob, value in unit["knobs"].items():
        lines.append(f"  {_knob_line(knob, value)}")
    if oomd := {name: text for name, text in unit["oomd"].items() if text not in ("auto", "none", "0")}:
        lines.append("  systemd-oomd: " + ", ".join(f"{name}={escape(text)}" for name, text in sorted(oomd.items())))
    return lines


def _knob_line(knob: str, value: Mapping[str, Any]) -> str:
    now, static = (_amount(knob, value[name]) for name in ("now", "static"))
    line = f"{knob}: {now}, static {static}, bounds {_amount(knob, value['low'])} to {_amount(knob, value['high'])}"
    if value["taken_over"]:
        return f"{line}; SET BY SOMEBODY ELSE, left alone"
    return f"{line}; {escape(value['reason'])}" if value["reason"] and value["now"] != value["static"] else line


def _amount(knob: str, value: int | None) -> str:
    if value is None:
        return "unknown"
    if knob != "memory":
        return str(value)
    return "infinity" if value >= UNLIMITED else f"{value >> 20}M"
