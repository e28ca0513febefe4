"""The command lichen-sched."""

from __future__ import annotations

import argparse
import json
import pwd
import random
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from lichen_agent.command import FAILED, run
from lichen_agent.control import ControlError, NotRunningError, ask
from lichen_agent.settings import SettingsError

from .bench import BenchError, ratios, run_bench
from .listing import audit_text, bench_text, outcome_text, phase_text, status_text
from .memory import WISH_OF, recalled, rests, switch_off
from .settings import CONFIGURATION, CONTROL, STATE, load_settings

START = ("systemctl", "start", "lichen-sched.service")
LOOK = 1.0  # seconds between two looks at a model that is being learned
ORDERS = {
    "off": "back to EEVDF at once, and stay there, also after restarts",
    "observe": "gather and learn under EEVDF",
    "on": "our scheduler, also when the agent had given up; once EEVDF was measured",
    "configured": "forget off, observe and on: the mode of /etc/lichen/sched.toml holds again",
}


def main(arguments: list[str] | None = None) -> None:
    """Run the command; its exit code is 0, or what :func:`make_parser` says."""
    run(make_parser(), arguments, BenchError, SettingsError)


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    told = (
        "exit codes: 1 it failed or the model was refused, 2 malformed options, 3 the agent does not answer or refuses"
    )
    parser = argparse.ArgumentParser(prog="lichen-sched", description="The scheduler's agent.", epilog=told)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    status = commands.add_parser("status", help="the mode and why, the model, delays, what was counted")
    status.set_defaults(run=show_status)
    train = commands.add_parser("train", help="learn a model now and say how it compares")
    train.set_defaults(run=train_now)
    bench = commands.add_parser("bench", help="compare EEVDF with our scheduler on this machine, under made-up work")
    bench.set_defaults(run=compare_schedulers)
    bench.add_argument("--rounds", metavar="N", type=_whole(2, 1000), default=5, help="of both (default: 5)")
    told = "of each half of a round (default: 10)"
    bench.add_argument("--seconds", metavar="S", type=_whole(1, 3000), default=10, help=told)
    bench.add_argument("--seed", metavar="N", type=int, help="of the order, as an earlier run printed it")
    audit = commands.add_parser("audit", help="time, waiting and bias of predictions by cgroup and user")
    audit.set_defaults(run=show_audit)
    orders = [commands.add_parser(order, help=told) for order, told in ORDERS.items()]
    for order, command in zip(ORDERS, orders, strict=True):
        command.set_defaults(run=give_order, order=order)
    for command in (status, train, bench, audit, *orders):
        command.add_argument("--json", action="store_true", help="for machines")
    return parser


def _whole(least: int, most: int) -> Callable[[str], int]:
    def whole(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} to {most}")
        return int(text)

    return whole


def show_status(options: argparse.Namespace) -> int:
    """Print how the agent is, or that it rests."""
    try:
        told = ask(CONTROL, {"command": "status"})
    except NotRunningError:
        if not (told := resting()):
            raise
    print(json.dumps(told) if options.json else status_text(told, time.time()) if "model" in told else _mode(told))
    return 0


def train_now(options: argparse.Namespace) -> int:
    """Let a model be learned, wait for it, print what became of it."""
    begun = ask(CONTROL, {"command": "train"})
    if not options.json:
        print(f"Learning from {begun['samples']} samples.", flush=True)
    while (model := ask(CONTROL, {"command": "status"})["model"])["learning"]:
        time.sleep(LOOK)
    last = model["last"]
    print(json.dumps(last) if options.json else outcome_text(last))
    return 0 if last["outcome"] == "installed" else FAILED


def compare_schedulers(options: argparse.Namespace) -> int:
    """Measure and print each phase, and the ratios with their intervals at last."""
    seed = random.randrange(1 << 31) if options.seed is None else options.seed  # noqa: S311 - an order, no secret
    phases: list[Mapping[str, object]] = []
    for phase in run_bench(_ask, options.rounds, options.seconds, seed):
        phases.append(phase)
        if not options.json:
            print(phase_text(phase), flush=True)
    found = ratios(phases)
    if options.json:
        print(json.dumps({"seed": seed, "phases": phases, "ratios": {name: list(r) for name, r in found.items()}}))
    else:
        print(bench_text(found, seed))
    return 0


def _ask(request: Mapping[str, object]) -> Mapping[str, object]:
    return ask(CONTROL, request)


def show_audit(options: argparse.Namespace) -> int:
    """Print what everybody got."""
    told = ask(CONTROL, {"command": "audit"})
    print(json.dumps(told) if options.json else audit_text(told, user_name))
    return 0


def user_name(uid: int) -> str:
    """A user's name, or the number of one without."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def give_order(options: argparse.Namespace) -> int:
    """Change the mode. Off also works when the agent does not run or does not answer."""
    if options.order == "off":
        return _off(options, STATE)
    try:
        told = ask(CONTROL, {"command": options.order})
    except NotRunningError:
        told = _begin(WISH_OF[options.order])
    print(json.dumps(told) if options.json else _mode(told))
    return 0


def _mode(told: Mapping[str, object]) -> str:
    return f"mode {told['mode']}: {told['why']}"


def resting() -> Mapping[str, object] | None:
    """What is to be said when no agent runs because there is nothing to do for one; None when it should run.

    Raises:
        OSError: one may not look.
        SettingsError: the settings are wrong.
    """
    if not rests(STATE, load_settings(CONFIGURATION).mode):
        return None
    off = (STATE / "off").exists()
    why = "lichen-sched off holds until on, observe or configured" if off else f"{CONFIGURATION} says so"
    return {"mode": "off", "why": f"{why}; the agent rests", "wish": "off" if off else ""}


def _begin(wish: str) -> Mapping[str, object]:
    """Leave a wish for the agent, and start it if there is something to do for it then.

    Raises:
        SettingsError: the agent would not start by them; nothing is left.
        ControlError: it does not start.
    """
    settings = load_settings(CONFIGURATION)
    STATE.mkdir(mode=0o700, exist_ok=True)
    # How EEVDF serves this machine is carried over; returns are forgotten, as when the agent is asked.
    memory, _, returns = recalled(settings, STATE, time.time())
    returns.forget()
    memory.ask_for(wish)
    if told := resting():
        return told
    done = subprocess.run(START, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise ControlError(f"the agent does not start: {done.stderr.strip() or f'exit code {done.returncode}'}")
    return ask(CONTROL, {"command": "status"})


def _off(options: argparse.Namespace, state: Path) -> int:
    state.mkdir(mode=0o700, exist_ok=True)
    switch_off(state)
    try:
        told = ask(CONTROL, {"command": "off"})
    except ControlError as error:
        # The file is there: an agent that starts, or wakes up, finds it.
        told = {"mode": "off", "why": f"the switch is off for whenever the agent runs; now {error}"}
    print(json.dumps(told) if options.json else _mode(told))
    return 0


if __name__ == "__main__":
    main()
