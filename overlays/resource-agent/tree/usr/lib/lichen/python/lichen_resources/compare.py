"""Adjusted against static values on this machine: phases in random order while it does its work, or a load given."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from lichen_agent.cgroups import mounted
from lichen_agent.control import ask

from .comparison import ratios
from .pressure import Cgroup
from .probe import READY
from .settings import CONTROL, STATE

Mode = Literal["adjusted", "static"]
# The agent adjusts again by itself so long after a phase should have ended.
GRACE = 60


class CompareError(Exception):
    """The comparison cannot be made; the message says why."""


@dataclass(frozen=True)
class Plan:
    """How to compare: pairs of phases, seconds that count and that do not, a command or none, the order's seed."""

    rounds: int
    seconds: int
    settle: int
    load: str | None
    seed: int


def order(plan: Plan) -> list[tuple[int, Mode]]:
    """The phases: each round has both modes, which of them comes first is thrown."""
    dice = random.Random(plan.seed)  # noqa: S311 - no secret
    phases: list[tuple[int, Mode]] = []
    for number in range(plan.rounds):
        modes: list[Mode] = ["adjusted", "static"]
        dice.shuffle(modes)
        phases += [(number, mode) for mode in modes]
    return phases


def compare(plan: Plan, output: Path | None, tell: Callable[[str], None]) -> tuple[Mapping[str, Any], Path]:
    """Do it. The agent is back at what it did before, however this ends.

    Returns:
        everything measured, and the file that holds it.

    Raises:
        ControlError: the agent does not answer.
        CompareError: it does not adjust, or a phase went wrong.
        OSError: the raw data cannot be kept.
    """
    status = ask(CONTROL, {"command": "status"})
    if status["mode"] != "adjusting":
        raise CompareError(f"the agent's mode is {status['mode']!r}; nothing to compare before it is 'adjusting'")
    root = mounted()
    units = [unit for unit in status["units"] if unit["there"]]
    if root is None or not units:
        raise CompareError("none of the declared units is active; start one, or see lichen-resources status")
    tell(f"seed {plan.seed}")
    path = output or STATE / f"compare-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}.json"
    result: dict[str, Any] = {**asdict(plan), "phases": []}
    try:
        for at, (number, mode) in enumerate(order(plan), 1):
            tell(f"phase {at} of {2 * plan.rounds}: {mode}")
            result["phases"].append(_phase(plan, number, mode, root, units))
            result["ratios"] = ratios(result["phases"])
            # After each: what was measured is kept when the rest is interrupted.
            _write(path, result)
    finally:
        ask(CONTROL, {"command": "hold", "seconds": 0})
    return result, path


def _phase(plan: Plan, number: int, mode: Mode, root: Path, units: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    longest = plan.settle + plan.seconds + GRACE if mode == "static" else 0
    told = ask(CONTROL, {"command": "hold", "seconds": longest})
    if (told["mode"] == "adjusting") is not (mode == "adjusted"):
        raise CompareError(f"the agent went to {told['mode']!r} meanwhile; what was measured so far is kept")
    with _load(plan.load), _probes(units, plan) as probes:
        time.sleep(plan.settle)
        before = {unit["unit"]: _totals(Cgroup(root, unit["cgroup"])) for unit in units}
        began = time.monotonic()
        for probe in probes.values():
            probe.send_signal(signal.SIGUSR1)
        time.sleep(plan.seconds)
        seconds = time.monotonic() - began
        after = {unit["unit"]: _totals(Cgroup(root, unit["cgroup"])) for unit in units}
        probed = {name: _answer(probe) for name, probe in probes.items()}
    measured = {
        unit["unit"]: {
            "role": unit["role"],
            "measures": _measures(before[unit["unit"]], after[unit["unit"]], seconds, probed.get(unit["unit"])),
        }
        for unit in units
    }
    return {"round": number, "mode": mode, "seconds": seconds, "units": measured, "probes": probed}


def _totals(cgroup: Cgroup) -> dict[str, int] | None:
    try:
        totals = {}
        for resource, pressure in cgroup.pressures().items():
            totals[f"stalled {resource} some"] = pressure.some_total
            totals[f"stalled {resource} full"] = pressure.full_total
        return {**totals, "processor": cgroup.processor_time()}
    except FileNotFoundError:
        return None


def _measures(
    before: Mapping[str, int] | None,
    after: Mapping[str, int] | None,
    seconds: float,
    probed: Mapping[str, Any] | None,
) -> dict[str, float]:
    """Shares of the time, and what the probe says. A unit that came or went meanwhile has none of the former."""
    found: dict[str, float] = {}
    if before is not None and after is not None:
        found = {name: (after[name] - total) / 1e6 / seconds for name, total in before.items() if name in after}
    if probed:
        found |= {f"lateness {name}": probed[name] for name in ("p50", "p99", "worst")} | {"work": probed["work"]}
    return found


@contextlib.contextmanager
def _load(command: str | None) -> Iterator[None]:
    """The command at work, ended with all that it started."""
    if command is None:
        yield
        return
    process = subprocess.Popen(["/bin/sh", "-c", command], stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        yield
        if process.poll() not in (None, 0):
            raise CompareError(f"the load ended with {process.returncode}: {command!r}")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def _probes(units: Sequence[Mapping[str, Any]], plan: Plan) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """A probe in each slice. In a service there is no room for a stranger: its cgroup is its own."""
    probes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for number, unit in enumerate(unit for unit in units if unit["unit"].endswith(".slice")):
            name = f"lichen-resources-probe-{os.getpid()}-{number}"
            probes[unit["unit"]] = subprocess.Popen(
                [
                    *("systemd-run", "--quiet", "--scope", f"--unit={name}", f"--slice={unit['unit']}"),
                    *("/usr/bin/python3", "-m", "lichen_resources.probe", str(plan.settle + plan.seconds + GRACE)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
            )
        for name, probe in probes.items():
            # A signal before it can take one would end it.
            if probe.stdout is None or probe.stdout.readline() != READY:
                raise CompareError(f"no probe could be started in {name}; systemd-run has told why")
        yield probes
    finally:
        for probe in probes.values():
            probe.kill()
            probe.wait()
            if probe.stdout:
                probe.stdout.close()


def _answer(probe: subprocess.Popen[bytes]) -> Mapping[str, Any] | None:
    """What a probe measured, None when it did not get so far."""
    probe.send_signal(signal.SIGTERM)
    try:
        out, _ = probe.communicate(timeout=30)
        return json.loads(out)
    except (subprocess.TimeoutExpired, ValueError):
        return None


def _write(path: Path, result: Mapping[str, Any]) -> None:
    new = path.with_suffix(".new")
    new.write_text(json.dumps(result), encoding="utf-8")
    os.replace(new, path)
