"""The security agent in a booted image: what it tells of attacks and ordinary work, how well its model does, its cost.

Boots an image that has the overlay ``security-agent`` once (the classroom, unless another finished image's folder is
named) and runs the overlay's suites in it, one after the other: ordinary work, attacks, windows for the model, and work
with and without the agent. All results go to a JSON file, the tables are printed.

Where no acceleration works, processors are emulated: compare the ratios, not the seconds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from builder.data.manifest import read_manifest
from builder.foundation.place import Project, default_cache
from builder.foundation.process import Runner
from builder.foundation.workbench import Workbench
from builder.steps.machine import Machine
from builder.verbs.boot import Request, acceleration, specify
from builder.verbs.build import build, provide_toolbox

# The overlay's own tests lay them down in the same way.
sys.path.append(str(Path(__file__).resolve().parents[1] / "overlays/security-agent/tests"))
from guest_suites import FOLDER, laying_down

PROFILE = "classroom-jupyterhub"
ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 60  # seconds for one alert


def suite(machine: Machine, name: str, arguments: str, minutes: float) -> dict[str, Any]:
    """What a suite found; it may take ``minutes`` at most."""
    print(f"guard: {name} …", flush=True)
    done = machine.run(f"python3 {FOLDER}/{name}/suite.py {arguments}", timeout=minutes * 60)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def table(found: dict[str, Any]) -> str:
    """The results as README has them."""
    attacks, work = found["attacks"], found["benign"]
    lines = ["| action | technique | told | after |", "|---|---|---|---|"]
    for item in attacks["actions"]:
        if "skipped" in item:
            lines.append(f"| {item['name']} | {item['technique']} | not done: {item['skipped']} | |")
        else:
            after = f"{item['seconds'] * 1000:.0f} ms" if item["told"] else ""
            lines.append(f"| {item['name']} | {item['technique']} | {'yes' if item['told'] else '**no**'} | {after} |")
    latencies = [item["seconds"] for item in attacks["actions"] if item.get("told")]
    lines += ["", f"recall {attacks['recall']:.3f} of {attacks['done']} actions"]
    lines += [f"latency median {statistics.median(latencies) * 1000:.0f} ms, worst {max(latencies) * 1000:.0f} ms", ""]
    for source, rate in work["per_hour"].items():
        count = sum(work["alerts"][source].values())
        if source == "anomaly" and work["model"] != "judging":
            lines.append(f"ordinary work, anomaly: the model was {work['model']}")
            continue
        lines.append(f"ordinary work, {source}: {count} alerts in {work['hours']:.2f} h, {rate:.1f} an hour")
    for name in ("forest", "frequency"):
        area = found["anomaly"][name]
        numbers = f"n = {area['attacks']} attacks, {area['normal']} normal windows"
        lines.append(f"AUROC of {name}: {area['value']:.3f} (standard error {area['error']:.3f}; {numbers})")
    lines.append(
        f"windows told: {found['anomaly']['caught']:.3f} of attacks, {found['anomaly']['alarms']:.3f} of others"
    )
    lines += ["", "| work | without, 1/s | with, 1/s | ratio |", "|---|---|---|---|"]
    for name, rates in found["overhead"]["per_second"].items():
        ratio = found["overhead"]["ratio"][name]
        lines.append(f"| {name} | {rates['without']:.1f} | {rates['with']:.1f} | {ratio:.3f} |")
    return "\n".join(lines)


def main() -> None:
    """Build if need be, boot, run the suites, print the tables, write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", type=Path, nargs="?", help="folder of a finished image")
    parser.add_argument("--minutes", type=float, default=10, help="of ordinary work, and of each half of the model's")
    parser.add_argument("--rounds", type=int, default=5, help="with and without the agent")
    parser.add_argument("--output", type=Path, default=Path("guard.json"))
    arguments = parser.parse_args()
    bench = Workbench(Project(ROOT), default_cache())
    folder = arguments.image.absolute() if arguments.image else build(bench, PROFILE).folder
    manifest = read_manifest(folder / "manifest.json")
    toolbox = provide_toolbox(bench, PROFILE)
    kind = acceleration(bench, toolbox, manifest.architecture, None).kind
    minutes = arguments.minutes
    with tempfile.TemporaryDirectory(prefix="lichen-guard-", dir="/var/tmp") as name:
        request = Request(data_disk=Path(name) / "data.raw")
        with Machine(toolbox, specify(folder, manifest, request, kind), Path(name) / "m", runner=Runner()) as machine:
            machine.wait_for_ssh()
            machine.wait_booted()
            machine.run(laying_down("attacks", "benign", "anomaly", "overhead"))
            found = {
                "profile": manifest.profile,
                "acceleration": kind,
                "benign": suite(machine, "benign", f"--minutes {minutes}", minutes + 30),
                "attacks": suite(machine, "attacks", f"--patience {PATIENCE}", 120),
                "anomaly": suite(machine, "anomaly", f"--learn {minutes} --judge {minutes}", 3 * minutes + 60),
                "overhead": suite(machine, "overhead", f"--rounds {arguments.rounds}", 120),
            }
            machine.shutdown()
    arguments.output.write_text(json.dumps(found, indent=2) + "\n")
    print(table(found))
    print(f"written to {arguments.output}")


if __name__ == "__main__":
    main()
