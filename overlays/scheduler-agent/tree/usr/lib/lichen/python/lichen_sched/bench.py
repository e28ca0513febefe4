"""A short comparison on this machine: EEVDF against our scheduler, in rounds whose order chance decides."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from lichen_agent.intervals import Interval, ratio

from .load import run_load

# EEVDF is in force in the mode observe, and the kernel's probes are the same in both.
EEVDF, OURS = "observe", "active"
MEASURES = {
    "hashes_per_second": "work done",
    "handovers_per_second": "bytes handed over",
    "switches_per_second": "context switches",
    "late_p50": "wake-up latency, median",
    "late_p99": "wake-up latency, 99th percentile",
}
# Seconds beyond the load's own that the agent keeps a mode for us.
MARGIN = 120


class BenchError(Exception):
    """It cannot be measured; the message says why."""


def run_bench(
    ask: Callable[[Mapping[str, object]], Mapping[str, object]],
    rounds: int,
    seconds: float,
    seed: int,
    load: Callable[[float], Mapping[str, float]] = run_load,
) -> Iterator[Mapping[str, object]]:
    """Measure, phase by phase; the agent does again what it did before when the iterator is closed or ends.

    Args:
        ask: puts a request to the agent.

    Yields:
        ``round``, ``mode`` and ``measured`` of each phase.

    Raises:
        BenchError: our scheduler does not come into force, or ended during its phase.
        ControlError: the agent does not answer.
    """
    chance = random.Random(seed)  # noqa: S311 - an order, no secret
    try:
        for number in range(rounds):
            for mode in chance.sample([EEVDF, OURS], 2):
                _enter(ask, mode, seconds)
                measured = load(seconds)
                if (now := ask({"command": "status"}))["mode"] != mode:
                    raise BenchError(f"the mode {mode} ended while it was measured: {now['why']}")
                yield {"round": number, "mode": mode, "measured": measured}
    finally:
        ask({"command": "trial", "mode": ""})


def _enter(ask: Callable[[Mapping[str, object]], Mapping[str, object]], mode: str, seconds: float) -> None:
    told = ask({"command": "trial", "mode": mode, "seconds": seconds + MARGIN})
    if told["mode"] != mode:
        raise BenchError(f"the mode {mode} cannot be had: {told['why']}")
    # What ran before shall have settled.
    time.sleep(min(1.0, seconds))


def ratios(phases: Sequence[Mapping[str, object]]) -> Mapping[str, Interval]:
    """Of each measure, ours to EEVDF's: geometric mean over rounds with its interval."""
    found = {}
    for name in MEASURES:
        by_round: dict[int, dict[str, float]] = {}
        for phase in phases:
            # A clock that is too coarse gives 0.
            by_round.setdefault(phase["round"], {})[phase["mode"]] = max(phase["measured"][name], 1e-9)
        found[name] = ratio([(pair[EEVDF], pair[OURS]) for pair in by_round.values() if len(pair) == 2])
    return found
