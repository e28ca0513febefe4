"""The ablation's guest side in a booted image: tools, one unit under the kernel's own scheduler and under ours."""

import json
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "scheduler-agent/bench"))
from guest_bench import FOLDER, laying_down

SUITE = f"cd {FOLDER} && PYTHONPATH={FOLDER}:/usr/lib/lichen/python python3 -B -m sched_bench.suite"
PLAN = {"seed": 1, "rounds": 1, "scale": 0.3, "seconds": 2.0}
SERVICE = "lichen-sched.service"


def records(host, words):
    return [json.loads(line) for line in host.check_output(f"{SUITE} {words}").splitlines()]


@pytest.fixture(scope="module")
def machine(host):
    """What the machine can do, with the agent at rest."""
    host.check_output(laying_down())
    host.run(f"systemctl stop {SERVICE}")
    yield records(host, "check")[0]
    host.run(f"systemctl start {SERVICE}")
    host.check_output(f"rm -rf {FOLDER}")


def test_every_workload_can_be_measured(machine):
    assert {name: why for name, why in machine["workloads"].items() if why} == {}


def test_every_configuration_can_be_had(machine):
    assert {name: why for name, why in machine["configurations"].items() if why} == {}


def test_unit_is_measured_under_every_scheduler(host, machine, artifacts):
    """Every run has its work, latency of the probe, switches and migrations; ours was in force all the time."""
    names = [name for name, why in machine["configurations"].items() if not why and name != "lichen-trees"]
    plan = json.dumps(PLAN | {"workloads": ["hackbench"], "configurations": names})
    told = records(host, f"unit --plan '{plan}' --block 0 --workload hackbench")
    (artifacts / "hackbench.json").write_text(json.dumps(told, indent=2))
    assert [record["kind"] for record in told] == ["run"] * len(names) + ["unit"]
    runs = {record["configuration"]: record for record in told if record["kind"] == "run"}
    assert {name: run["fault"] for name, run in runs.items() if "fault" in run} == {}
    for run in runs.values():
        assert run["values"].keys() >= {"throughput", "probe_p99_us", "switches", "migrations", "wait_mean_us"}
        assert run["values"]["throughput"] > 0


def test_fairness_shares_by_weight_under_the_kernels_own_scheduler(host, machine):
    """Emulated and short, so only roughly: the cgroup of 400 gets most, the indices are indices."""
    plan = json.dumps(PLAN | {"seconds": 4.0, "workloads": ["fairness"], "configurations": ["eevdf"]})
    run, _ = records(host, f"unit --plan '{plan}' --block 0 --workload fairness")
    owners = {row["owner"]: row["ran_us"] for row in run["detail"]["owners"]}
    assert max(owners, key=owners.get) == "weight-400"
    assert all(0 < run["values"][name] <= 1 for name in ("jain_weights", "jain_users", "jain_nice"))
    assert not host.file("/sys/fs/cgroup/lichen-bench").exists
