"""The scheduler's programs in the image's own kernel, without the agent: shares, starvation, predictors, watchdog."""

import base64
import json
from pathlib import Path

import pytest

# Sixteen checks of ten seconds and more each, beside the verifier's minutes on an emulated machine.
pytestmark = pytest.mark.long
UNIT = "lichen-sched.service"
FOLDER = "/run/lichen-sched-tests"
SCRIPTS = ("guest_kernel.py", "guest_tasks.py")
OBSERVING = ("observe", "off")
CHECKS = (
    *OBSERVING,
    *(
        "active",
        "nice_bound",
        "nice_free",
        "bound_and_free",
        "weights",
        "starvation",
        "realtime",
        "realtime_everywhere",
    ),
    *("predictors", "oracle", "load", "changes", "flat", "stall"),
)


@pytest.fixture(scope="module")
def told(host, artifacts):
    """What guest_kernel.py prints of each check, with the agent at rest; one run, for loading takes longest."""
    host.check_output(f"systemctl stop {UNIT} && mkdir -p {FOLDER}")
    for name in SCRIPTS:
        text = base64.b64encode(Path(__file__).with_name(name).read_bytes()).decode()
        host.check_output(f"echo {text} | base64 -d > {FOLDER}/{name}")
    try:
        done = host.run(f"PYTHONPATH=/usr/lib/lichen/python /usr/bin/python3 -B {FOLDER}/guest_kernel.py")
    finally:
        host.run(f"rm -r {FOLDER}; systemctl start {UNIT}")
    assert done.stdout, done.stderr
    (artifacts / "kernel.jsonl").write_text(done.stdout)
    machine, *checks = [json.loads(line) for line in done.stdout.splitlines()]
    return machine, {check["check"]: check for check in checks}


def test_every_check_has_a_test(told):
    """Where the kernel can have our scheduler; otherwise observing alone is checked."""
    machine, checks = told
    assert set(checks) == set(OBSERVING if machine["support"] else CHECKS), machine


@pytest.mark.parametrize("name", CHECKS)
def test_kernel(told, name):
    machine, checks = told
    if name not in checks and machine["support"]:
        pytest.skip(machine["support"])
    assert checks[name]["held"], checks[name]["seen"]
