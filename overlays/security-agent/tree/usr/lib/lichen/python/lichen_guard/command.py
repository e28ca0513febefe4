"""The command lichen-guard."""

from __future__ import annotations

import argparse
import datetime
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from lichen_agent.command import FAILED, run
from lichen_agent.control import ask

from .alert import Priority
from .eventlog import follow_log, read_log
from .listing import explanation_text, record_text, status_text
from .selftest import SelfTestError, run_self_test
from .settings import CONTROL, LOG

MALFORMED = 2
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def main(arguments: list[str] | None = None) -> None:
    """Run the command; its exit code is 0, or what :func:`make_parser` says."""
    run(make_parser(), arguments, SelfTestError)


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    told = (
        "exit codes: 1 the test failed or nothing was found, 2 malformed rules or options, 3 the agent does not answer"
    )
    parser = argparse.ArgumentParser(prog="lichen-guard", description="The security agent.", epilog=told)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    status = commands.add_parser("status", help="hooks, rules, the model, what was seen and lost")
    status.set_defaults(run=show_status)

    events = commands.add_parser("events", help="the alerts in the log, the oldest first")
    events.set_defaults(run=show_events)
    events.add_argument(
        "--follow", action="store_true", help="show new ones as they come, and no old ones without --since"
    )
    events.add_argument("--rule", metavar="NAME", help="of this rule only")
    events.add_argument(
        "--priority", choices=[p.name.lower() for p in Priority], help="of this priority or a worse one"
    )
    told = "not older than that: 90s, 10m, 2h, 1d, or a time as 2026-01-31T12:00"
    events.add_argument("--since", metavar="TIME", type=moment, help=told)

    learn = commands.add_parser("learn", help="forget what is normal and learn anew; nothing unusual is told meanwhile")
    learn.set_defaults(run=start_learning)
    told = "from so many windows, however soon they come (default: as in /etc/lichen/guard.toml)"
    learn.add_argument("--windows", metavar="N", type=int, help=told)

    explain = commands.add_parser("explain", help="why the model found windows unusual")
    explain.set_defaults(run=explain_alerts)
    explain.add_argument(
        "number", nargs="?", type=int, help="of an alert of any sort (default: the last ten of the model)"
    )

    test = commands.add_parser("test", help="do something harmless that a rule must see, and say how soon it did")
    test.set_defaults(run=run_test)
    test.add_argument(
        "--rules", metavar="FILE", nargs="+", type=Path, help="instead, check rule files and show what is wrong"
    )
    test.add_argument(
        "--timeout", metavar="SECONDS", type=float, default=30.0, help="to wait for the alert (default: 30)"
    )

    for command in (status, events, learn, explain, test):
        command.add_argument("--json", action="store_true", help="for machines")
    return parser


def moment(text: str) -> datetime.datetime:
    """A time, or so long ago.

    Raises:
        argparse.ArgumentTypeError: it is neither.
    """
    if ago := re.fullmatch(r"(\d+)([smhd])", text):
        return datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=int(ago[1]) * UNITS[ago[2]])
    try:
        return datetime.datetime.fromisoformat(text).astimezone(datetime.UTC)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: try 10m, 2h, 1d or 2026-01-31T12:00") from error


def show_status(options: argparse.Namespace) -> int:
    """Print how the agent is."""
    told = ask(CONTROL, {"command": "status"})
    print(json.dumps(told) if options.json else status_text(told))
    return 0


def show_events(options: argparse.Namespace) -> int:
    """Print alerts of the log."""
    for record in _chosen(options):
        if _fits(record, options):
            print(json.dumps(record) if options.json else record_text(record), flush=options.follow)
    return 0


def _chosen(options: argparse.Namespace) -> Iterator[Mapping[str, object]]:
    if not options.follow or options.since:
        yield from read_log(LOG)
    if options.follow:
        yield from follow_log(LOG)


def _fits(record: Mapping[str, object], options: argparse.Namespace) -> bool:
    if options.rule and record["rule"] != options.rule:
        return False
    if options.priority and Priority[str(record["priority"]).upper()] > Priority[options.priority.upper()]:
        return False
    return not options.since or datetime.datetime.fromisoformat(str(record["time"])) >= options.since


def start_learning(options: argparse.Namespace) -> int:
    """Let the agent learn anew."""
    told = ask(CONTROL, {"command": "learn", "windows": options.windows})
    if options.json:
        print(json.dumps(told))
    else:
        print(f"Learning starts anew, from {told['windows']} windows. lichen-guard status says how far it is.")
    return 0


def explain_alerts(options: argparse.Namespace) -> int:
    """Print what the model found, with the numbers that made it unusual."""
    if options.number is None:
        found = [record for record in read_log(LOG) if record["source"] == "anomaly"][-10:]
    else:
        found = [record for record in read_log(LOG) if record["number"] == options.number]
    if not found:
        which = "alert of the model" if options.number is None else f"alert {options.number}"
        print(f"lichen-guard: there is no {which} in {LOG}", file=sys.stderr)
        return FAILED
    print(json.dumps(found) if options.json else "\n\n".join(map(explanation_text, found)))
    return 0


def run_test(options: argparse.Namespace) -> int:
    """Try the whole way from the kernel to an alert, or check rule files."""
    if options.rules:
        return _check_rules(options)
    seconds = run_self_test(options.timeout)
    if options.json:
        print(json.dumps({"seen": seconds is not None, "milliseconds": seconds and round(seconds * 1000, 3)}))
    elif seconds is not None:
        print(f"seen: the alert came after {seconds * 1000:.1f} ms")
    if seconds is None:
        print(f"lichen-guard: no alert came within {options.timeout:g} s; see lichen-guard status", file=sys.stderr)
        return FAILED
    return 0


def _check_rules(options: argparse.Namespace) -> int:
    # Most of the command's other parts would wait as long again for the rules' language.
    from .rules import RulesError, load_rules

    try:
        rules = load_rules(options.rules)
    except RulesError as error:
        if options.json:
            faults = [{"place": str(p.place), "what": p.what, "why": p.why, "remedy": p.remedy} for p in error.problems]
            print(json.dumps({"problems": faults}))
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return MALFORMED
    notes = [*map(str, rules.unsupported), *map(str, rules.unfilled), *map(str, rules.unbounded)]
    if options.json:
        print(json.dumps({"rules": [rule.name for rule in rules.rules], "notes": notes, "problems": []}))
    else:
        print("\n".join([*notes, f"well-formed, rules that judge: {len(rules.rules)}"]))
    return 0


if __name__ == "__main__":
    main()
