"""The guest's side of the ablation; ``ci/sched`` calls it. Prints JSON lines, the runs first, one object last.

    python3 -m sched_bench.suite check                       what this machine can do, and why not the rest
    python3 -m sched_bench.suite train --plan PLAN           runs with the training seeds; the model learned from them
    python3 -m sched_bench.suite unit --plan PLAN --block 0 --workload hackbench [--model FILE]

Runs as root. The agents' services are to be stopped, see ``ci/sched``.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .configurations import CONFIGURATIONS, ORACLE, TREES, Configuration
from .measuring import Nothing, Run, Side, measure
from .order import Plan
from .tasks import TaskError, cgroups
from .workloads import WORKLOADS, Size, Workload

try:
    from . import driver
except ImportError as error:
    driver, NO_DRIVER = None, f"the agent's Python is not there: {error}"
else:
    NO_DRIVER = ""

Record = dict[str, Any]
TRAINING = Configuration("training", "observe", says="the run that the trees learn from")
RECORDING = Configuration("recording", "active", "constant", says="the run that the oracle replays")


def check() -> Record:
    """What of the plan's parts this machine can do; a reason for each that it cannot."""
    observe, active = (NO_DRIVER, NO_DRIVER) if driver is None else driver.unsupported()
    reasons = {"off": "", "observe": observe, "active": active}
    return {
        "kind": "machine",
        "workloads": {name: item.missing() for name, item in WORKLOADS.items()},
        "configurations": {name: reasons[item.mode] for name, item in CONFIGURATIONS.items()},
        "kernel": platform.release(),
        "processors": os.cpu_count(),
        "architecture": platform.machine(),
    }


def side_of(configuration: Configuration, **more: Any) -> Side:
    """What puts a configuration in force.

    Raises:
        TaskError: the agent's Python is not there.
    """
    if configuration.mode == "off":
        return Nothing()
    if driver is None:
        raise TaskError(NO_DRIVER)
    return driver.Driver(configuration, **more)


def train(plan: Plan) -> Iterator[Record]:
    """A run of every workload with the training seed, then the model learned from all of their bursts."""
    records = []
    for name in plan.workloads:
        size = Size(plan.training_seed(name), plan.scale, plan.seconds)
        side = side_of(TRAINING, sample_every=1)
        result = measure(Run(WORKLOADS[name], TRAINING, size), side)
        records.append(side.records())
        yield {"kind": "training", "workload": name, "samples": len(records[-1]), "seed": size.seed, **result}
    try:
        model, told = driver.learn(records, plan.seed)
        yield {"kind": "model", "model": base64.b64encode(model).decode(), **told}
    except TaskError as error:
        yield {"kind": "no model", "why": str(error)}
    yield {"kind": "trained"}


def unit(plan: Plan, block: int, workload: Workload, model: bytes) -> Iterator[Record]:
    """Every configuration once, in the block's order; a record of the unit's end last."""
    (this,) = [each for each in plan.units() if (each.block, each.workload) == (block, workload.name)]
    size = Size(this.seed, plan.scale, plan.seconds)
    for position, name in enumerate(this.order):
        configuration = CONFIGURATIONS[name]
        record = {"kind": "run", "block": block, "workload": workload.name, "configuration": name}
        record |= {"position": position, "seed": this.seed}
        try:
            yield {
                **record,
                **measure(Run(workload, configuration, size), _prepared(configuration, workload, size, model)),
            }
        except TaskError as error:
            yield {**record, "values": {}, "fault": str(error)}
    yield {"kind": "unit", "block": block, "workload": workload.name}


def _prepared(configuration: Configuration, workload: Workload, size: Size, model: bytes) -> Side:
    if configuration.mode != "active":
        return side_of(configuration)
    if configuration.name == TREES and not model:
        raise TaskError("no model was learned for the trees")
    if configuration.name != ORACLE:
        return side_of(configuration, model=model)
    recorder = side_of(RECORDING, model=model, record=True)
    if fault := measure(Run(workload, RECORDING, size), recorder).get("fault"):
        raise TaskError(f"nothing was recorded for the oracle: {fault}")
    return side_of(configuration, model=model, recorded=recorder.records())


def plan_of(text: str) -> Plan:
    """The plan that ``ci/sched`` hands over as JSON."""
    fields = json.loads(text)
    return Plan(**{key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()})


def main() -> None:
    """Do what is asked for, print records as they come."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("check", "train", "unit"))
    parser.add_argument("--plan", type=plan_of)
    parser.add_argument("--block", type=int)
    parser.add_argument("--workload", choices=WORKLOADS)
    parser.add_argument("--model", type=Path)
    arguments = parser.parse_args()
    if arguments.what == "check":
        print(json.dumps(check()))
        return
    with cgroups():
        if arguments.what == "train":
            records = train(arguments.plan)
        else:
            model = arguments.model.read_bytes() if arguments.model else b""
            records = unit(arguments.plan, arguments.block, WORKLOADS[arguments.workload], model)
        for record in records:
            print(json.dumps(record), flush=True)


if __name__ == "__main__":
    try:
        main()
    except TaskError as error:
        sys.exit(f"sched_bench: {error}")
