"""Puts a configuration in force: a process that loads the programs, polls them as the agent does, tells what it saw.

A process of its own, so that its processor time is what running the scheduler takes in user space. It is used through
:class:`Driver`; by itself it reads an order on its first line of standard input and ends at the second one.
"""

from __future__ import annotations

import json
import random
import resource
import select
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from lichen_agent.cgroups import Cgroups
from lichen_agent.sealed import SealError, sealed, unsealed
from lichen_agent.settings import SettingsError
from lichen_sched.kernel import Mode, Scheduler, SchedulerError
from lichen_sched.layout import SAMPLE, Predictor, Share, parse_sample
from lichen_sched.learning import Learning
from lichen_sched.model import SEAL, ModelError, model_of
from lichen_sched.samples import parse
from lichen_sched.settings import CONFIGURATION, OBJECT, load_settings

from .configurations import Configuration
from .tasks import TaskError

ROOT_IDENTITY = 1
RING = 16 << 20  # bytes; room for the bursts of a moment in which an emulated machine does not come to poll
# Of the bursts one in so many goes through the ring while something is measured, as in the agent when it begins.
SAMPLE_EVERY = 64
MOST_RECORDS = 500_000  # 70 MB
FOR_TRAINING = 8000  # of each workload
READY = 900.0  # seconds; the kernel verifies the programs for minutes on a busy emulated machine
POLL_MS = 200
LONGEST_REASON = 300


def unsupported() -> tuple[str, str]:
    """Why this machine cannot observe, and why it cannot have the mode active; empty when it can."""
    try:
        scheduler = Scheduler(OBJECT)
    except SchedulerError as error:
        return _short(error), _short(error)
    support = scheduler.support
    scheduler.close()
    return "", _short(support)


class Driver:
    """The process, from outside.

    Args:
        model: sealed, from :func:`learn`; also the constant of all predictors comes from it.
        recorded: what the oracle knows, records of a run before.
        record: whether every burst of the workload is to be kept.
        sample_every: see ``struct lichen_control``.
    """

    def __init__(
        self,
        configuration: Configuration,
        *,
        model: bytes = b"",
        recorded: Sequence[bytes] = (),
        record: bool = False,
        sample_every: int = SAMPLE_EVERY,
    ) -> None:
        # Lives as long as this object.
        self._place = tempfile.TemporaryDirectory(prefix="lichen-bench-", dir="/run")
        folder = Path(self._place.name)
        (folder / "model").write_bytes(model)
        (folder / "oracle").write_bytes(b"".join(recorded))
        self._records = folder / "records"
        self._order = {
            "folder": str(folder),
            "mode": configuration.mode,
            "predictor": configuration.predictor,
            "record": record,
            "sample_every": sample_every,
        }
        self._process: subprocess.Popen[str] | None = None

    def begin(self, root: int) -> None:
        """See :class:`sched_bench.measuring.Side`."""
        words = [sys.executable, "-m", "sched_bench.driver"]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._say(json.dumps({**self._order, "root": root}))
        if error := self._hear().get("error"):
            self._process.wait()
            raise TaskError(error)

    def end(self) -> Mapping[str, Any]:
        """See :class:`sched_bench.measuring.Side`."""
        if not self._process or self._process.poll() is not None:
            return {"fault": "the driver ended by itself"} if self._process else {}
        self._say("end")
        told = self._hear()
        self._process.wait()
        return {"fault": told["error"]} if "error" in told else told

    def records(self) -> list[bytes]:
        """What came through the ring."""
        data = self._records.read_bytes() if self._records.exists() else b""
        return [data[at : at + SAMPLE.size] for at in range(0, len(data), SAMPLE.size)]

    def _say(self, line: str) -> None:
        assert self._process  # noqa: S101
        assert self._process.stdin  # noqa: S101
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # what it did not say tells why

    def _hear(self) -> dict[str, Any]:
        assert self._process  # noqa: S101
        assert self._process.stdout  # noqa: S101
        if not select.select([self._process.stdout], [], [], READY)[0]:
            self._process.kill()
            return {"error": f"the driver said nothing for {READY:.0f} s"}
        line = self._process.stdout.readline()
        return json.loads(line) if line else {"error": "the driver ended without a word; see its standard error"}


def learn(records: Sequence[Sequence[bytes]], seed: int) -> tuple[bytes, dict[str, Any]]:
    """A sealed model from the records of several workloads, each counting the same; and how it did when it was tried.

    Raises:
        TaskError: it cannot be learned.
    """
    chance = random.Random(seed)  # noqa: S311
    chosen = [each for group in records for each in chance.sample(group, min(FOR_TRAINING, len(group)))]
    # The learner tries on the last of them: that part shall be of all workloads.
    chance.shuffle(chosen)
    samples, faulty = parse(chosen)
    begin = _cpu(resource.RUSAGE_CHILDREN)
    try:
        learning = Learning(samples, None, seed)
        while not (model := learning.result()):
            time.sleep(POLL_MS / 1000)
    except ModelError as error:
        raise TaskError(f"no model for the trees: {error}") from error
    told = {"samples": len(samples), "faulty": faulty, "constant_ns": model.constant, "tried": asdict(model.tried)}
    told["cpu_seconds"] = _cpu(resource.RUSAGE_CHILDREN) - begin
    return sealed(SEAL, model.arrays()), told


class Session:
    """The driver from within: the scheduler between an order and its end."""

    def __init__(self, order: Mapping[str, Any]) -> None:
        """Raises SchedulerError, SealError, ModelError, SettingsError."""
        self._order, self._folder = order, Path(order["folder"])
        self._records: list[bytes] = []
        self._known = bursts((self._folder / "oracle").read_bytes())
        self._scheduler = Scheduler(OBJECT, ring_bytes=RING, oracle_bursts=len(self._known))
        self._set()
        self._before = self._state()
        self._began = time.monotonic(), _cpu()

    def _set(self) -> None:
        scheduler, order = self._scheduler, self._order
        changes: dict[str, Any] = {"sample_every": order["sample_every"], "record": order["record"], **slices()}
        if sealed_model := (self._folder / "model").read_bytes():
            model = model_of(unsealed(sealed_model, SEAL))
            scheduler.write_model(model.ensemble.trees(), model.ensemble.base)
            changes["constant_ns"] = model.constant
        if order["predictor"]:
            changes["predictor"] = Predictor[order["predictor"].upper()]
        if order["record"] or order["predictor"] == "oracle":
            scheduler.set_roots({order["root"]: ROOT_IDENTITY})
        if order["predictor"] == "oracle":
            scheduler.set_oracle(self._known)
        scheduler.set_control(**changes)
        scheduler.set_mode(Mode(order["mode"]))

    def poll(self) -> None:
        """Take samples for a moment."""
        self._scheduler.poll(POLL_MS, self._take)

    def _take(self, record: bytes) -> None:
        if len(self._records) < MOST_RECORDS:
            self._records.append(record)

    def _state(self) -> dict[str, Any]:
        scheduler = self._scheduler
        return {"counters": scheduler.counters(), "delays": scheduler.delays(), "shares": scheduler.shares()}

    def end(self) -> dict[str, Any]:
        """Back to the kernel's scheduler; what happened since the beginning."""
        seconds, cpu = time.monotonic() - self._began[0], _cpu() - self._began[1]
        scheduler, before = self._scheduler, self._before
        after, mode, ending, control = self._state(), scheduler.mode, scheduler.ending(), scheduler.control()
        self.poll()
        scheduler.close()
        (self._folder / "records").write_bytes(b"".join(self._records))
        told: dict[str, Any] = {
            "control": asdict(control),
            "cpu_seconds": cpu,
            "seconds": seconds,
            "records": len(self._records),
            "counters": {
                each.name.lower(): n - before["counters"].get(each, 0) for each, n in after["counters"].items()
            },
            "delays": [now - then for now, then in zip(after["delays"], before["delays"], strict=True)],
            "shares": shares(before["shares"], after["shares"]),
        }
        if mode != self._order["mode"]:
            told["fault"] = f"the scheduler was not in force to the end: {ending.reason if ending else mode}"
        return told


def slices() -> dict[str, int]:
    """The machine's own settings of slices and preemption; the programs' where it has none.

    Raises:
        SettingsError: they are malformed.
    """
    if not CONFIGURATION.exists():
        return {}
    settings = load_settings(CONFIGURATION)
    microseconds = {name: getattr(settings, f"{name}_us") for name in ("slice_min", "slice_max", "preempt")}
    return {f"{name}_ns": value * 1000 for name, value in microseconds.items()}


def bursts(data: bytes) -> list[tuple[int, int, int]]:
    """Identity, sequence and nanoseconds of the records that have an identity."""
    samples = [parse_sample(data[at : at + SAMPLE.size]) for at in range(0, len(data), SAMPLE.size)]
    return [(each.identity, each.sequence, each.burst_ns) for each in samples if each.identity]


def shares(before: Mapping[Any, Share], after: Mapping[Any, Share]) -> list[dict[str, Any]]:
    """What each owner got in between, largest first; ``longest_ns`` is since loading."""
    places, found = Cgroups(), []
    for owner, share in after.items():
        old = before.get(owner)
        ran, waited, count, error, bias = (
            getattr(share, name) - (getattr(old, name) if old else 0)
            for name in ("ran_ns", "waited_ns", "bursts", "error", "bias")
        )
        if ran or count:
            row = {"cgroup": owner.cgroup, "uid": owner.uid, "path": places.find(owner.cgroup).cgroup}
            row |= {"weight": share.weight, "ran_ns": ran, "waited_ns": waited, "longest_ns": share.longest_ns}
            found.append(row | {"bursts": count, "error": error, "bias": bias})
    places.close()
    return sorted(found, key=lambda row: -row["ran_ns"])


def _short(reason: object) -> str:
    # The kernel's verifier says more than a table can hold.
    return textwrap.shorten(str(reason), LONGEST_REASON)


def _cpu(whose: int = resource.RUSAGE_SELF) -> float:
    usage = resource.getrusage(whose)
    return usage.ru_utime + usage.ru_stime


def _tell(out: IO[str], what: Mapping[str, Any]) -> None:
    out.write(json.dumps(what, default=int) + "\n")
    out.flush()


def main() -> None:
    """One order."""
    order = json.loads(sys.stdin.readline())
    try:
        session = Session(order)
    except (SchedulerError, SealError, ModelError, SettingsError) as error:
        _tell(sys.stdout, {"error": _short(error)})
        return
    _tell(sys.stdout, {"ready": True})
    try:
        while not select.select([sys.stdin], [], [], 0)[0]:
            session.poll()
        _tell(sys.stdout, session.end())
    except SchedulerError as error:
        _tell(sys.stdout, {"error": _short(error)})


if __name__ == "__main__":
    main()
