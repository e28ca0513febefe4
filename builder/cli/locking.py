"""``lichen lock`` over one profile or all, and how its changelog reads."""

from __future__ import annotations

from collections.abc import Sequence

from builder.cli.output import emit_json, say, table
from builder.cli.session import Session
from builder.foundation.errors import InputError, Problem
from builder.foundation.inuse import shared
from builder.foundation.workbench import Workbench
from builder.verbs.everything import every_image_here
from builder.verbs.lock import Change, LockOutcome, check_lock
from builder.verbs.lock import lock as make_lock

Wanted = Sequence[tuple[str, str | None]]


def wanted(bench: Workbench, profile: str | None, architecture: str | None) -> Wanted:
    """Profile and architecture of each lock: the one that was named, else of every profile that is built.

    Of all, those that cannot get their first lock on this machine are told and left out.

    Raises:
        InputError: everything that is wrong with any profile.
    """
    if profile is not None:
        return [(profile, architecture)]
    found, problems = every_image_here(bench)
    if problems:
        raise InputError(problems)
    return [(name, item) for name, item in found if architecture in (None, item)]


def check_all(run: Session, bench: Workbench, locks: Wanted) -> None:
    """Print that all locks are current.

    Raises:
        InputError: those that are not, together.
    """
    problems: list[Problem] = []
    rows = []
    for name, architecture in locks:
        try:
            lock = check_lock(bench, name, architecture)
        except InputError as error:
            problems.extend(error.problems)
        else:
            rows.append({"profile": name, "architecture": lock.architecture, "digest": lock.digest})
    if problems:
        raise InputError(problems)
    if run.json:
        emit_json({"locks": rows})
        return
    for row in rows:
        say(f"{row['profile']} {row['architecture']}: the lock is current")


def lock_all(
    run: Session,
    bench: Workbench,
    locks: Wanted,
    *,
    upgrade: bool,
    accept_expired: frozenset[str],
    without: frozenset[str],
) -> None:
    """Make or refresh each lock and print what moved."""
    with shared(bench.cache):
        outcomes = [
            make_lock(bench, name, architecture, upgrade=upgrade, accept_expired=accept_expired, without=without)
            for name, architecture in locks
        ]
    if run.json:
        emit_json({"locks": [_as_dict(outcome) for outcome in outcomes]})
        return
    for outcome in outcomes:
        _print_outcome(outcome)


def _print_outcome(outcome: LockOutcome) -> None:
    debs, wheels = len(outcome.lock.debs), len(outcome.lock.wheels)
    state = "written" if outcome.changed else "unchanged"
    say(f"{outcome.path}: {state}, {debs} Debian packages, {wheels} wheels")
    table(("", "what", "name", "version"), [_row(change) for change in outcome.changelog])


def _row(change: Change) -> tuple[str, str, str, str]:
    versions = " → ".join(version for version in (change.old, change.new) if version)
    if change.kind == "changed":
        versions = f"{change.new}, other bytes"
    return change.kind, change.what, change.name, versions


def _as_dict(outcome: LockOutcome) -> dict[str, object]:
    return {
        "profile": outcome.lock.profile,
        "architecture": outcome.lock.architecture,
        "path": str(outcome.path),
        "changed": outcome.changed,
        "digest": outcome.lock.digest,
        "changelog": [vars(change) for change in outcome.changelog],
    }
