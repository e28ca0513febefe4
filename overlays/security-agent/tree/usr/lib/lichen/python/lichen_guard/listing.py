"""What the command prints for people."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from lichen_agent.escape import escape

from .features import FEATURES

MEANINGS = {feature.name: feature.meaning for feature in FEATURES}


def record_text(record: Mapping[str, Any]) -> str:
    """One alert in one line."""
    moment = datetime.datetime.fromisoformat(record["time"]).astimezone()
    denied = " (refused)" if record["denied"] else ""
    text = (
        f"{record['number']} {moment:%Y-%m-%d %H:%M:%S} {record['priority']} {record['rule']}{denied}: {record['text']}"
    )
    return escape(text, 10_000)


def explanation_text(record: Mapping[str, Any]) -> str:
    """One alert with all that is known of it; of one of the model, which numbers raised the score by how much."""
    fields = record["fields"]
    lines = [record_text(record)]
    if record["source"] != "anomaly":
        return "\n".join([*lines, *(f"  {name} = {escape(str(value))}" for name, value in fields.items())])
    lines.append(f"  score {fields['score']}, told above {fields['threshold']}; {fields['events']} events")
    for name, fall in fields.items():
        if not name.startswith("fall."):
            continue
        feature = name.removeprefix("fall.")
        value, usual = fields.get(f"value.{feature}"), fields.get(f"usual.{feature}")
        meaning = MEANINGS.get(feature, "a number that this version does not know")
        lines.append(f"  {feature} is {value}, usually {usual}; without that the score were {fall} lower ({meaning})")
    new = ((name.removeprefix("new."), value) for name, value in fields.items() if name.startswith("new."))
    return "\n".join([*lines, *(f"  new {sort}: {escape(str(names))}" for sort, names in new)])


def status_text(told: Mapping[str, Any]) -> str:
    """How the agent is."""
    rules = told["rules"]
    lines = [
        f"mode {told['mode']}, running for {_duration(told['uptime_seconds'])}, {told['memory_bytes'] >> 20} MiB",
        f"hooks: {list(told['hooks'].values()).count('attached')} attached",
        *_listed("not attached", [f"{hook}: {why}" for hook, why in told["hooks"].items() if why != "attached"]),
        f"rules: {len(rules['loaded'])} judge, {len(rules['disabled'])} are switched off by their files",
        *_listed("cannot be judged here", rules["unsupported"]),
        *_listed("asked for in alerts and not known", rules["unfilled"]),
        *_listed("do not see all", rules["unbounded"]),
        *_listed("REFUSED, the rules before them stay", rules["refused"]),
        f"model: {_model_text(told['model'])}",
        f"events: {_counts(told['events'])}",
        f"lost: {_counts(told['lost'])}",
        f"alerts: {_counts(told['alerts'])}; {told['held_back']} held back",
    ]
    if told["not_judged"]:
        lines.append(f"EVENTS THAT RULES FAILED AT: {told['not_judged']}")
    if told["not_understood"]:
        lines.append(f"RECORDS OF THE KERNEL THAT WERE NOT UNDERSTOOD: {told['not_understood']}")
    for name, place in told["outputs"].items():
        line = (
            f"to the {name}: {place['delivered']} delivered, {place['waiting']} waiting, {place['given_up']} given up"
        )
        lines.append(line + (f"; last error {place['last_error']}" if place["last_error"] else ""))
    return "\n".join(escape(line, 10_000) for line in lines)


def _model_text(model: Mapping[str, Any]) -> str:
    if model["state"] == "off":
        return "switched off"
    if model["state"] == "learning":
        busy = ", a model is being made of them" if model["being_learned"] else ""
        passed = _duration(model["gathering_seconds"])
        return f"learning, {model['windows']} of {model['wanted_windows']} windows in {passed}{busy}; nothing is told"
    judged = f"{model['told']} of {model['judged']} windows told"
    promise = f"at most {model['rate']:.2%} of normal ones are"
    return f"judging, learned from {model['learned_from']} windows; {judged}, {promise}; {model['units']} units known"


def _counts(counts: Mapping[str, int]) -> str:
    some = sorted(((count, name) for name, count in counts.items() if count), reverse=True)
    return ", ".join(f"{count} {name}" for count, name in some) or "none"


def _listed(what: str, things: Sequence[str]) -> list[str]:
    return [f"  {len(things)} {what}:", *(f"    {thing}" for thing in things)] if things else []


def _duration(seconds: int) -> str:
    hours, rest = divmod(seconds, 3600)
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s" if rest >= 60 else f"{rest} s"
