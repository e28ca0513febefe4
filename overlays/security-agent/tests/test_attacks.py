"""What attackers do, done in the guest, and told."""

import json

import pytest
from guest_suites import FOLDER, laying_down

RECALL = 0.95
# Once through either suite takes an emulated machine minutes; a smoke attack is in every run.
pytestmark = pytest.mark.long
# Seconds that an alert may take on a slow emulated machine until it counts as missing.
PATIENCE = 120


@pytest.fixture(scope="module")
def suites(host):
    """The folders of the suites, laid into the guest."""
    host.check_output(laying_down("attacks", "benign"))
    yield FOLDER
    host.check_output(f"rm -rf {FOLDER}")


def test_attacks_are_told(host, suites, artifacts):
    """Recall over all actions that this machine can do; what was told of each, and after how long, is kept."""
    told = json.loads(host.check_output(f"python3 {suites}/attacks/suite.py --patience {PATIENCE}"))
    (artifacts / "attacks.json").write_text(json.dumps(told, indent=2))
    missed = [item for item in told["actions"] if not item.get("told", True)]
    assert told["done"] >= 40
    assert told["recall"] >= RECALL, missed


def test_ordinary_work_goes_through_and_is_not_told(host, suites, artifacts):
    """Once through all of it: no alert of a rule. What the model tells of it is kept, it may still be learning."""
    told = json.loads(host.check_output(f"python3 {suites}/benign/suite.py"))
    (artifacts / "ordinary-work.json").write_text(json.dumps(told, indent=2))
    assert told["faults"] == {}
    assert told["alerts"]["rules"] == {}, told["texts"]
    assert told["missing"] == 0
