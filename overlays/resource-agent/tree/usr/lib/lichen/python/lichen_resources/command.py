"""The command lichen-resources."""

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path

from lichen_agent.command import run
from lichen_agent.control import ControlError, ask

from .audit import read_log, record_text
from .compare import CompareError, Plan, compare
from .comparison import comparison_text
from .listing import status_text
from .restore import restore
from .settings import CONTROL, LOG, STATE, SWITCH

# Seconds. Under a lasting pressure the weights of one resource go from the static ones to the bounds in 100.
SETTLE = 120


def main(arguments: list[str] | None = None) -> None:
    """Run the command; its exit code is 0, or what :func:`make_parser` says."""
    run(make_parser(), arguments, CompareError)


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    told = "exit codes: 1 it failed, 2 malformed options, 3 the agent does not answer"
    parser = argparse.ArgumentParser(prog="lichen-resources", description="The resource agent.", epilog=told)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    status = commands.add_parser("status", help="units, their pressure, what is changed and why")
    status.set_defaults(run=show_status)
    log = commands.add_parser("log", help="all changes, the oldest first")
    log.set_defaults(run=show_log)
    log.add_argument("--unit", metavar="NAME", help="of this unit only")
    log.add_argument("--last", metavar="N", type=int, help="the last N only")
    off = commands.add_parser("off", help="static values at once, and over restarts, until `on`")
    off.set_defaults(run=switch_off)
    on = commands.add_parser("on", help="adjust again")
    on.set_defaults(run=switch_on)

    told = "adjusted against static, in random order, while the machine does its work"
    comparing = commands.add_parser("compare", help=told)
    comparing.set_defaults(run=run_compare)
    comparing.add_argument(
        "--rounds", metavar="N", type=_count(2, 1000), default=6, help="pairs of phases (default: 6)"
    )
    told = "of a phase that count (default: 60)"
    comparing.add_argument("--seconds", metavar="S", type=_count(2, 3600), default=60, help=told)
    told = f"at a phase's beginning that do not count: until weights are where they stay (default: {SETTLE})"
    comparing.add_argument("--settle", metavar="S", type=_count(0, 3600), default=SETTLE, help=told)
    told = "run by the shell during each phase, ended after it (default: what the machine does by itself)"
    comparing.add_argument("--load", metavar="COMMAND", help=told)
    comparing.add_argument("--seed", metavar="N", type=int, help="of the order, as an earlier run printed it")
    told = "for the raw data (default: a new one in /var/lib/lichen-resources)"
    comparing.add_argument("--output", metavar="FILE", type=Path, help=told)

    for command in (status, log, off, on, comparing):
        command.add_argument("--json", action="store_true", help="for machines")
    return parser


def _count(low: int, high: int):
    def parse(text: str) -> int:
        if not text.isdecimal() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is to be a whole number from {low} to {high}")
        return int(text)

    return parse


def show_status(options: argparse.Namespace) -> int:
    """Print how the agent is."""
    told = ask(CONTROL, {"command": "status"})
    print(json.dumps(told) if options.json else status_text(told))
    return 0


def show_log(options: argparse.Namespace) -> int:
    """Print changes."""
    records = [r for r in read_log(LOG) if options.unit in (None, r["unit"])]
    if options.last is not None:
        records = records[-options.last :] if options.last > 0 else []
    for record in records:
        print(json.dumps(record) if options.json else record_text(record))
    return 0


def switch_off(options: argparse.Namespace) -> int:
    """Static values now and from now on; with the agent or without it."""
    try:
        told = dict(ask(CONTROL, {"command": "off"}))
    except ControlError:
        # It must be possible whatever the agent does; and it must not come back by a restart.
        STATE.mkdir(mode=0o700, parents=True, exist_ok=True)
        SWITCH.touch(mode=0o644)
        told = {"mode": "off", "given_back": restore("switch", "off, while the agent did not answer")}
    _print_mode(options, told)
    return 0


def switch_on(options: argparse.Namespace) -> int:
    """Adjust again."""
    try:
        told = ask(CONTROL, {"command": "on"})
    except ControlError:
        SWITCH.unlink(missing_ok=True)
        raise
    _print_mode(options, dict(told))
    return 0


def _print_mode(options: argparse.Namespace, told: dict[str, object]) -> None:
    print(json.dumps(told) if options.json else f"mode: {told['mode']}")


def run_compare(options: argparse.Namespace) -> int:
    """Compare adjusted with static values."""
    seed = random.randrange(1 << 31) if options.seed is None else options.seed  # noqa: S311 - an order, no secret
    plan = Plan(options.rounds, options.seconds, options.settle, options.load, seed)
    tell = None if options.json else lambda text: print(text, file=sys.stderr, flush=True)
    result, path = compare(plan, options.output, tell or (lambda _text: None))
    print(json.dumps(result["ratios"]) if options.json else comparison_text(result))
    print(f"raw data: {path}; --seed {seed} repeats the order", file=sys.stderr)
    return 0


if __name__ == "__main__":
    main()
