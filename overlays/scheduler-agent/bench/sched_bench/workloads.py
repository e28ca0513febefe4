"""The workloads: what they need, how they are started, how their results are read."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from . import outputs

# Where PyTorch may be: in the environment of wheels, or from Debian's packages.
PYTHONS = ("/opt/ai/bin/python3", "/usr/bin/python3")


@dataclass(frozen=True)
class Size:
    """How much of a workload to do.

    Attributes:
        scale: of fixed work; 1 takes an emulated processor a few seconds.
        seconds: of workloads of a fixed time.
    """

    seed: int
    scale: float
    seconds: float

    def times(self, count: int) -> int:
        """``count`` at scale 1."""
        return max(1, round(count * self.scale))


@dataclass(frozen=True)
class Workload:
    """One of them.

    Attributes:
        missing: why this machine cannot do it; empty when it can.
        command: words to start it with.
        read: numbers, from what it printed.
        virtual: whether it makes sense in virtual time: neither disk, network nor a clock outside.
    """

    name: str
    says: str
    missing: Callable[[], str]
    command: Callable[[Size], list[str]]
    read: Callable[[str, Size], Mapping[str, Any]]
    virtual: bool = True
    quick: bool = False


GROUPS, DESCRIPTORS, MESSAGES = 2, 5, 200
PERF_GROUP = 40  # processes of a group of perf's: 20 send, 20 receive, each sender to each receiver
PERF_LOOPS, PIPE_LOOPS = 30, 1500


def needs(*programs: str) -> Callable[[], str]:
    """The reason when one of the programs is not installed."""

    def missing() -> str:
        absent = [program for program in programs if not shutil.which(program)]
        return f"{' and '.join(absent)} not installed (overlay scheduler-bench)" if absent else ""

    return missing


@functools.cache
def imports(python: str, module: str) -> str:
    """The reason when ``python`` has no such module."""
    if not shutil.which(python):
        return f"{python} is not there"
    done = subprocess.run([python, "-c", f"import {module}"], capture_output=True, text=True, check=False)
    return (
        ""
        if done.returncode == 0
        else f"{python} cannot import {module}: {(done.stderr.strip() or '?').splitlines()[-1]}"
    )


def with_torch() -> str:
    """The Python that has PyTorch; the last one when none has."""
    return next((python for python in PYTHONS if not imports(python, "torch")), PYTHONS[-1])


def _ours(module: str, size: Size, *options: str, python: str = sys.executable) -> list[str]:
    return [python, "-m", f"sched_bench.work.{module}", "--seed", str(size.seed), *options]


def _scale(size: Size) -> tuple[str, str]:
    return "--scale", str(size.scale)


def _seconds(size: Size) -> tuple[str, str]:
    return "--seconds", str(size.seconds)


def _own(text: str, _size: Size) -> Mapping[str, Any]:
    return outputs.own(text)


def _stress(size: Size) -> list[str]:
    # For a time, not a number of operations: stress-ng ends all stressors' operations before their number is reached.
    each = str(os.cpu_count() or 1)
    mix = ["--cpu", each, "--cpu-method", "int64", "--switch", each, "--pipe", each]
    return [
        "stress-ng",
        *mix,
        "--timeout",
        f"{max(1, round(size.seconds))}s",
        "--metrics-brief",
        "--seed",
        str(size.seed),
    ]


WORKLOADS = {
    item.name: item
    for item in (
        Workload(
            "hackbench",
            "messages between processes over sockets",
            needs("hackbench"),
            lambda size: [
                *("hackbench", "-g", str(GROUPS), "-f", str(DESCRIPTORS)),
                *("-l", str(size.times(MESSAGES))),
            ],
            lambda text, size: outputs.hackbench(text, GROUPS * DESCRIPTORS**2 * size.times(MESSAGES)),
            quick=True,
        ),
        Workload(
            "perf-messaging",
            "perf bench sched messaging: the same with more processes at once",
            needs("perf"),
            lambda size: [
                *("perf", "bench", "--format", "simple", "sched", "messaging"),
                *("-g", "1", "-l", str(size.times(PERF_LOOPS))),
            ],
            lambda text, size: outputs.perf_simple(text, (PERF_GROUP // 2) ** 2 * size.times(PERF_LOOPS)),
        ),
        Workload(
            "perf-pipe",
            "perf bench sched pipe: two processes that wake one another",
            needs("perf"),
            lambda size: [
                *("perf", "bench", "--format", "simple", "sched", "pipe"),
                *("-l", str(size.times(PIPE_LOOPS))),
            ],
            lambda text, size: outputs.perf_simple(text, size.times(PIPE_LOOPS)),
            quick=True,
        ),
        Workload(
            "stress-mix",
            "stress-ng: computing, switching and pipes at once, for a time",
            needs("stress-ng"),
            _stress,
            lambda text, _: outputs.stress_ng(text),
        ),
        Workload(
            "compile",
            "C files compiled by make",
            needs("make", "gcc"),
            lambda size: _ours("compilation", size, *_scale(size)),
            _own,
            virtual=False,
        ),
        Workload(
            "training",
            "a training loop of PyTorch's with workers that load data",
            lambda: imports(with_torch(), "torch"),
            lambda size: _ours("training", size, *_scale(size), python=with_torch()),
            _own,
            virtual=False,
        ),
        Workload(
            "inference",
            "an inference server under load beside a batch job",
            lambda: imports(sys.executable, "numpy"),
            lambda size: _ours("inference", size, *_scale(size), *_seconds(size)),
            _own,
        ),
        Workload(
            "notebook",
            "somebody runs cells of a notebook beside processes that never rest",
            lambda: "",
            lambda size: _ours("notebook", size, *_scale(size), *_seconds(size)),
            _own,
            quick=True,
        ),
        Workload(
            "fairness",
            "cgroups of weights 100, 200, 400, two users of one weight, nice 0 and 5",
            lambda: "",
            lambda size: _ours("fairness", size, *_seconds(size)),
            _own,
            quick=True,
        ),
    )
}
