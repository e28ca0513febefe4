"""What the command prints for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lichen_agent.escape import escape
from lichen_agent.intervals import Interval

from .bench import MEASURES


def status_text(told: Mapping[str, Any], now: float) -> str:
    """How the agent is. ``now`` is in seconds since 1970."""
    delays, returns, counters = told["delays"], told["returns"], told["counters"]
    share = told["cpu_seconds"] / max(1, told["uptime_seconds"])
    lines = [
        f"mode {told['mode']}: {told['why']}",
        f"configured: {told['configured']}, asked for: {told['wish'] or 'nothing else'}",
        f"kernel: {told['support'] or 'can have our scheduler'}",
        *_quota_lines(told),
        f"running for {_duration(told['uptime_seconds'])}, takes {share:.2%} of a processor",
        *_model_lines(told["model"], now),
        f"delays of the last 10 s: {delays['counted']} counted, median {_time(delays['p50'])}, "
        f"99 % {_time(delays['p99'])} (too long above {_time(delays['limit'])}), 99.9 % {_time(delays['p99.9'])}, "
        f"longest {_time(delays['longest'])}",
        f"counted: {_counts(counters)}; the longest delay since the start {_time(counters['longest_ns'] / 1e9)}",
        f"returns to EEVDF: {returns['count']}{', GIVEN UP' if returns['given_up'] else ''}",
        *(f"  {_duration(round(now - time))} ago: {reason}" for time, reason in returns["reasons"]),
    ]
    if told["not_understood"]:
        lines.append(f"RECORDS OF THE KERNEL THAT WERE NOT UNDERSTOOD: {told['not_understood']}")
    return "\n".join(escape(line, 10_000) for line in lines)


def _quota_lines(told: Mapping[str, Any]) -> list[str]:
    """Of cgroups that have a limit of processor time; none where nobody has."""
    if not told["cpu_quotas"]:
        return []
    count = len(told["cpu_quotas"])
    if told["mode"] == "active":
        return [f"CPU QUOTAS THAT ARE NOT KEPT: of {count} cgroups, as ignore_cpu_quotas allows it"]
    ours = "would not keep them, ignore_cpu_quotas allows it" if told["ignore_cpu_quotas"] else "may not be in force"
    return [f"CPU quotas: of {count} cgroups; ours {ours}"]


def _counts(counters: Mapping[str, int]) -> str:
    some = (f"{count} {name}" for name, count in counters.items() if count and name != "longest_ns")
    return ", ".join(some) or "nothing"


def _model_lines(model: Mapping[str, Any], now: float) -> list[str]:
    busy = ", one is being learned" if model["learning"] else ""
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in model["outcomes"].items())
    lines = [
        f"predictor: {model['predictor']} ({model['wanted']} is wanted)",
        f"models: {outcomes}{busy}; {model['samples']} samples are there",
    ]
    if "tried" in model:
        ago = _duration(round(now - model["learned"]))
        lines.append(f"model {model['version']}, learned {ago} ago from {model['learned_from']} bursts")
        lines.append(f"  {_tried_text(model['tried'])}")
    if model["last"] and model["last"]["outcome"] != "installed":
        lines.append(f"the last one was {outcome_text(model['last'])}")
    return lines


def outcome_text(last: Mapping[str, Any]) -> str:
    """What became of a model."""
    why = f": {last['why']}" if last["why"] else ""
    tried = f"\n  {_tried_text(last)}" if "errors" in last else ""
    return f"{last['outcome']}{why}{tried}"


def _tried_text(tried: Mapping[str, Any]) -> str:
    errors = ", ".join(f"{name} {error:.3f}" for name, error in tried["errors"].items())
    sure = f"with 95 % confidence {tried['low']:+.1%} to {tried['high']:+.1%}"
    gain = f"gain over {tried['best']} {tried['gain']:+.1%}, {sure}"
    return f"mean error of log2 on {tried['bursts']} bursts held out: {errors}; {gain}"


def phase_text(phase: Mapping[str, Any]) -> str:
    """One phase of a comparison."""
    measured = phase["measured"]
    rates = ", ".join(f"{measured[name]:.0f} {what}/s" for name, what in list(MEASURES.items())[:3])
    late = f"woke {_time(measured['late_p50'])} late, 99 % {_time(measured['late_p99'])}"
    return f"round {phase['round'] + 1} {'EEVDF' if phase['mode'] == 'observe' else 'ours '}: {rates}, {late}"


def bench_text(ratios: Mapping[str, Interval], seed: int) -> str:
    """The ratios of a comparison."""
    lines = [f"Ours to EEVDF, geometric mean and 95 % confidence, seed {seed}:"]
    for name, found in ratios.items():
        sure = "" if found.low <= 1 <= found.high else ", a difference beyond chance"
        lines.append(f"  {MEASURES[name]}: {found.mean:.2f} ({found.low:.2f} to {found.high:.2f}){sure}")
    return "\n".join(lines)


def audit_text(told: Mapping[str, Any], user_name: Callable[[int], str]) -> str:
    """What everybody got."""
    head = f"mode {told['mode']}, predictor {told['predictor']}, for {_duration(round(told['seconds']))}; "
    lines = [f"{head}bias of all {told['samples']} samples {told['bias']:+.2f} of log2"]
    lines += _rows("cgroup", [(row["cgroup"], row) for row in told["cgroups"]])
    lines += _rows("user", [(user_name(row["uid"]), row) for row in told["users"]])
    if not told["siblings"]:
        lines.append("No two cgroups with the same parent wanted more all the time: weights did not matter.")
    for group in told["siblings"]:
        lines.append(f"below {group['parent']}: Jain's index over weights {group['jain']:.3f}")
        lines += [f"  {seconds:.4f} s per weight: {path}" for path, seconds in group["ran_per_weight"].items()]
    if found := told["bias_and_wait"]:
        lines.append(
            f"rank correlation of bias and waiting over {found['cgroups']} cgroups: {found['correlation']:+.2f}"
        )
    which = [row["cgroup"] if "cgroup" in row else user_name(row["uid"]) for row in told["different"]]
    lines.append(f"predicted differently from all others, beyond chance: {', '.join(which) or 'nobody'}")
    return "\n".join(escape(line, 10_000) for line in lines)


def _rows(what: str, rows: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    lines = [
        f"{'ran s':>10} {'waited s':>10} {'longest':>9} {'bursts':>9} {'error':>6} {'bias':>6}  {'95 %':<16} {what}"
    ]
    for name, row in sorted(rows, key=lambda pair: -pair[1]["ran"]):
        low_high = "{:+.2f} to {:+.2f}".format(*row["bias_interval"]) if row["bias_interval"] else "too few"
        mark = {1: " LONGER", -1: " SHORTER", 0: ""}[row["differs"]]
        lines.append(
            f"{row['ran']:>10.2f} {row['waited']:>10.2f} {_time(row['longest']):>9} {row['bursts']:>9} "
            f"{row['error']:>6.2f} {row['bias']:>+6.2f}  {low_high:<16} {name}{mark}"
        )
    return lines


def _time(seconds: float) -> str:
    return (
        f"{seconds:.2f} s"
        if seconds >= 1
        else f"{seconds * 1000:.1f} ms"
        if seconds >= 1e-3
        else f"{seconds * 1e6:.0f} us"
    )


def _duration(seconds: int) -> str:
    hours, rest = divmod(seconds, 3600)
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s" if rest >= 60 else f"{rest} s"
