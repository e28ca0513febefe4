"""The scheduler's ablation: the kernel's own scheduler and ours with each predictor, on the same workloads.

Boots an image that has the overlays ``scheduler-agent`` and ``scheduler-bench`` once (the profile ``scheduler-bench``,
unless another finished image's folder is named) and lets it measure, block by block: every block has every workload,
and of each every configuration once, in an order that the seed decides. What the trees learn from are runs with other
seeds, before the first block; the oracle replays a run of the same workload and seed.

The output folder gets ``raw.jsonl`` (every run, as it was measured), ``report.md`` and charts. What was broken off
goes on where it was when the same folder is named again; more ``--rounds`` are added to those that are there.

Where no acceleration works, processors are emulated: compare the ratios, not the seconds. With ``--icount`` the guest's
clock counts instructions: times do not depend on what else the host does.
"""

from __future__ import annotations

import argparse
import json
import random
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from builder.data.manifest import Manifest, read_manifest
from builder.foundation.errors import InputError, LichenError, Problem
from builder.foundation.place import Project, default_cache
from builder.foundation.process import Runner
from builder.foundation.workbench import Workbench
from builder.steps.machine import Machine
from builder.verbs.boot import Request, acceleration, specify
from builder.verbs.build import build, provide_toolbox

# The tests of the analysis import the same.
sys.path.append(str(Path(__file__).resolve().parents[1] / "overlays/scheduler-agent/bench"))
from guest_bench import FOLDER, laying_down, putting
from sched_bench import journal
from sched_bench.configurations import CONFIGURATIONS
from sched_bench.order import Plan, left
from sched_bench.report import EMULATED, RAW, TOLD, write
from sched_bench.workloads import WORKLOADS

ROOT = Path(__file__).resolve().parents[1]
PROFILE = "scheduler-bench"
SERVICES = "lichen-sched.service lichen-resources.service"
MODEL = "model"
# Work of a few seconds on an emulated processor takes a real one a thirtieth of it.
SCALES = {"tcg": 1.0, "kvm": 30.0}
QUICK = {"rounds": 2, "seconds": 2.0, "scale": 0.3}
UNIT_PATIENCE = 4 * 3600.0  # seconds; the guest itself ends what takes too long
Record = dict[str, Any]


def suite(run: Callable[[str], str], words: str) -> list[Record]:
    """The records that the guest's side prints for ``words``."""
    # Root's own Python files beside the agent's; no bytecode, so that every run starts alike.
    path = f"{FOLDER}:/usr/lib/lichen/python"
    text = run(f"cd {FOLDER} && PYTHONDONTWRITEBYTECODE=1 PYTHONPATH={path} python3 -m sched_bench.suite {words}")
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def first(records: Iterable[Record], kind: str) -> Record | None:
    """The first record of a kind."""
    return next((record for record in records if record.get("kind") == kind), None)


def possible(plan: Plan, machine: Record) -> Plan:
    """The plan without what the machine cannot do."""
    works = tuple(name for name in plan.workloads if not machine["workloads"].get(name))
    sets = tuple(name for name in plan.configurations if not machine["configurations"].get(name))
    return replace(plan, workloads=works, configurations=sets)


def measure(run: Callable[[str], str], plan: Plan, raw: Path) -> None:
    """Everything of the plan that is not in the file ``raw`` yet; ``run`` runs a command in the guest.

    Raises:
        JournalError: the file is of another plan, or damaged.
        LichenError: the guest fails.
    """
    records = journal.resume(raw, plan)
    run(f"systemctl stop {SERVICES} 2>/dev/null; {laying_down()}")
    if not (machine := first(records, "machine")):
        (machine,) = suite(run, "check")
        journal.append(raw, [machine])
    plan = possible(plan, machine)
    order = shlex.quote(json.dumps(asdict(plan)))
    active = any(CONFIGURATIONS[name].mode == "active" for name in plan.configurations)
    if active and not first(records, "trained"):
        print("sched: training runs …", flush=True)
        trained = suite(run, f"train --plan {order}")
        journal.append(raw, trained)
        records += trained
    model = first(records, "model")
    for command in putting(model["model"], MODEL) if model else ():
        run(command)
    units = list(plan.units())
    todo = left(units, journal.finished(records))
    for unit in todo:
        print(f"sched: block {unit.block + 1} of {plan.rounds}, {unit.workload} …", flush=True)
        words = f"unit --plan {order} --block {unit.block} --workload {unit.workload}"
        journal.append(raw, suite(run, f"{words} --model {FOLDER}/{MODEL}" if model else words))


def complete(plan: Plan, raw: Path) -> bool:
    """Whether the file has all of the plan.

    Raises:
        JournalError: it is of another plan, or damaged.
    """
    records = journal.resume(raw, plan)
    machine = first(records, "machine")
    return bool(machine) and not left(list(possible(plan, machine).units()), journal.finished(records))


def boot_and_measure(bench: Workbench, folder: Path, manifest: Manifest, kind: Any, plan: Plan, raw: Path) -> None:
    """Boot the image and measure in it."""
    toolbox = provide_toolbox(bench, PROFILE)
    with tempfile.TemporaryDirectory(prefix="lichen-sched-", dir="/var/tmp") as name:
        request = Request(data_disk=Path(name) / "data.raw", virtual_time=plan.virtual)
        with Machine(toolbox, specify(folder, manifest, request, kind), Path(name) / "m", runner=Runner()) as machine:
            machine.wait_for_ssh()
            machine.wait_booted()
            measure(lambda command: machine.run(command, timeout=UNIT_PATIENCE).stdout, plan, raw)
            machine.shutdown()


def names(text: str, known: Iterable[str], what: str) -> tuple[str, ...]:
    """Names that were given with commas between.

    Raises:
        InputError: one of them is not known.
    """
    given = tuple(dict.fromkeys(text.split(",")))
    if unknown := [name for name in given if name not in known]:
        raise InputError(Problem(f"no such {what}", ", ".join(unknown), f"there are {', '.join(known)}"))
    return given


def plan_of(arguments: argparse.Namespace, kind: str, raw: Path) -> Plan:
    """The plan of a command line; the seed of a folder that has one already is kept.

    Raises:
        InputError: an unknown name.
        JournalError: the folder's file is damaged.
    """
    known = [name for name, item in WORKLOADS.items() if item.virtual or not arguments.icount]
    chosen = [name for name in known if WORKLOADS[name].quick or not arguments.quick]
    workloads = names(arguments.workloads, known, "workload") if arguments.workloads else tuple(chosen)
    sets = names(arguments.configurations, CONFIGURATIONS, "configuration") if arguments.configurations else ()
    head = first(journal.read(raw), "plan") or {}
    seed = head.get("seed", random.SystemRandom().randrange(1 << 31)) if arguments.seed is None else arguments.seed
    sizes = {"rounds": 5, "seconds": 8.0, "scale": SCALES[kind]}
    if arguments.quick:
        sizes = {**QUICK, "scale": QUICK["scale"] * SCALES[kind]}
    if arguments.rounds is not None:
        sizes["rounds"] = arguments.rounds
    return Plan(
        seed=seed,
        rounds=int(sizes["rounds"]),
        scale=sizes["scale"],
        seconds=sizes["seconds"],
        workloads=workloads,
        configurations=sets or tuple(CONFIGURATIONS),
        virtual=arguments.icount,
    )


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", type=Path, nargs="?", help="folder of a finished image")
    parser.add_argument("--rounds", type=int, help="blocks; 5, or 2 with --quick")
    parser.add_argument("--seed", type=int, help="of order and workloads; chosen and printed if not given")
    parser.add_argument("--workloads", default="", help=f"of {','.join(WORKLOADS)}")
    parser.add_argument("--configurations", default="", help=f"of {','.join(CONFIGURATIONS)}")
    parser.add_argument("--quick", action="store_true", help="fewer workloads, less work, in minutes")
    parser.add_argument("--icount", action="store_true", help="virtual time, emulated on one thread")
    parser.add_argument("--output", type=Path, default=Path("sched-ablation"), help="folder for all results")
    return parser.parse_args()


def main() -> None:
    """Build if need be, boot, measure what is missing, write the report."""
    arguments = parse()
    bench = Workbench(Project(ROOT), default_cache())
    folder = arguments.image.absolute() if arguments.image else build(bench, PROFILE).folder
    manifest = read_manifest(folder / "manifest.json")
    arguments.output.mkdir(parents=True, exist_ok=True)
    raw = arguments.output / RAW
    asked = "tcg" if arguments.icount else None
    kind = acceleration(bench, provide_toolbox(bench, PROFILE), manifest.architecture, asked).kind
    plan = plan_of(arguments, kind, raw)
    print(f"sched: seed {plan.seed}, {plan.rounds} blocks, {', '.join(plan.workloads)}", flush=True)
    if not complete(plan, raw):
        boot_and_measure(bench, folder, manifest, kind, plan, raw)
    records = journal.read(raw)
    told = {"image": f"{manifest.profile} {manifest.architecture}", "processors": kind}
    if machine := first(records, "machine"):
        told |= {"kernel": machine["kernel"], "number of processors": machine["processors"]}
    if kind == "tcg":
        told["note"] = "Virtual time: the guest's clock counts instructions." if plan.virtual else EMULATED
    (arguments.output / TOLD).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    for path in write(arguments.output, records, told):
        print(f"written: {path}")


if __name__ == "__main__":
    try:
        main()
    except (LichenError, journal.JournalError) as error:
        sys.exit(f"sched: {error}")
