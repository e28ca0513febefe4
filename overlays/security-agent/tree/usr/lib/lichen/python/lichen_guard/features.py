"""The numbers that a window is judged by.

:data:`FEATURES` is the one list of them; model files name it, and README.md tells it to people. Without NumPy: the
command shows their meanings, and would wait for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .profiles import Profile, group_count
from .windows import GROUPS, Window


@dataclass(frozen=True)
class Feature:
    """One number of a window, relative to the profile of its unit."""

    name: str
    meaning: str
    value: Callable[[Window, Profile], float]


def _beyond_usual(group: str) -> Callable[[Window, Profile], float]:
    return lambda window, profile: math.log1p(group_count(window, group)) - profile.usual[group]


def _log(count: Callable[[Window], float]) -> Callable[[Window, Profile], float]:
    return lambda window, profile: math.log1p(count(window))


def _new(sort: str) -> Callable[[Window, Profile], float]:
    return lambda window, profile: math.log1p(len(new_things(window, profile, sort)))


def _share(part: Callable[[Window], float], whole: Callable[[Window], float]) -> Callable[[Window, Profile], float]:
    return lambda window, profile: part(window) / whole(window) if whole(window) else 0.0


def _new_program_share(window: Window, profile: Profile) -> float:
    new = sum(window.programs[name] for name in new_things(window, profile, "programs"))
    return new / window.kinds["exec"] if window.kinds["exec"] else 0.0


def _execs(window: Window) -> int:
    return window.kinds["exec"]


def new_things(window: Window, profile: Profile, sort: str) -> list[str]:
    """What of a sort (programs, destinations, ...) the profile never saw, in the order of its first appearance."""
    return [thing for thing in getattr(window, sort) if profile.is_new(sort, thing)]


_SAID = {
    "execs": "programs started",
    "opens": "watched files opened",
    "changes": "files made, linked or given other rights",
    "removals": "files removed or renamed",
    "connects": "connections",
    "listens": "sockets that listen",
    "kernel": "ptrace, mounts, modules, bpf, namespaces, signals to the agent",
    "identities": "changes of user, groups and capabilities",
}

FEATURES: Sequence[Feature] = (
    Feature("events", "all events, log(1 + n)", _log(lambda window: window.events)),
    *(Feature(group, f"{_SAID[group]}: log(1 + n) less the unit's mean", _beyond_usual(group)) for group in GROUPS),
    Feature("programs", "different programs, log(1 + n)", _log(lambda window: len(window.programs))),
    Feature("new_program_share", "of starts, those of programs never seen in this unit", _new_program_share),
    Feature("new_pairs", "pairs of parent and child never seen in this unit, log(1 + n)", _new("pairs")),
    Feature("destinations", "different addresses connected to, log(1 + n)", _log(lambda w: len(w.destinations))),
    Feature("new_destinations", "addresses never seen in this unit, log(1 + n)", _new("destinations")),
    Feature("ports", "different ports connected to, log(1 + n)", _log(lambda window: len(window.ports))),
    Feature("new_folders", "folders never seen in this unit, log(1 + n)", _new("folders")),
    Feature("new_kinds", "kinds of events never seen in this unit, log(1 + n)", _new("kinds")),
    Feature("new_uids", "users never seen in this unit, log(1 + n)", _new("uids")),
    Feature("became_root", "changes of the user to root, log(1 + n)", _log(lambda window: window.became_root)),
    Feature("memory_share", "of starts, those of programs in no folder", _share(lambda w: w.in_memory, _execs)),
    Feature("temporary_share", "of starts, those from /tmp and the like", _share(lambda w: w.temporary, _execs)),
    Feature("denied", "events that the kernel refused, log(1 + n)", _log(lambda window: window.denied)),
    Feature(
        "burst",
        "most files made, renamed, removed in one second, log(1 + n)",
        _log(lambda w: max(w.seconds.values(), default=0)),
    ),
    Feature("entropy", "mean of names' entropy, bits per character", _share(lambda w: w.entropy, lambda w: w.names)),
    Feature(
        "arguments", "mean length of arguments, log(1 + bytes)", _log(lambda w: w.argument_bytes / max(1, _execs(w)))
    ),
    Feature(
        "terminal_share",
        "of events, those of processes with a terminal",
        _share(lambda w: w.on_terminal, lambda w: w.events),
    ),
)
NAMES: Sequence[str] = tuple(feature.name for feature in FEATURES)


def features(window: Window, profile: Profile) -> list[float]:
    """The window as numbers, in the order of :data:`FEATURES`; all are finite, and float32 is enough for them."""
    return [feature.value(window, profile) for feature in FEATURES]
