"""Does the ordinary work of work.py again and again, and tells what the agent told meanwhile.

    python3 suite.py --minutes 5

Runs as root on the machine that is watched. Prints one JSON object: alerts of rules and of the model apart, and how
many that makes in an hour; "missing" is how many more the log had no room for. Exit code 0 when it ran through,
whatever was told.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.append("/usr/lib/lichen/python")
sys.path.insert(0, str(Path(__file__).parent))
from lichen_guard.eventlog import last_number, read_log
from lichen_guard.settings import LOG
from work import WORKS

SETTLE = 3  # seconds for the last alerts to be written
ENVIRONMENT = {**os.environ, "SUITE": str(Path(__file__).parent)}


def do(work) -> str:
    """Do one piece of work; what went wrong, or nothing."""
    folder = tempfile.mkdtemp(dir="/var/lib")
    # From a file, as a person's script is.
    script = Path(folder) / ".script"
    script.write_text(work.script)
    try:
        done = subprocess.run(
            ["sh", script],
            env={**ENVIRONMENT, "WORK": folder},
            cwd=folder,
            capture_output=True,
            check=False,
            timeout=900,
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return "" if done.returncode == 0 else (done.stdout + done.stderr).decode(errors="replace")[-500:]


def state() -> str:
    """What the model is at: learning, judging or off."""
    done = subprocess.run(["lichen-guard", "status", "--json"], capture_output=True, check=True)
    return json.loads(done.stdout)["model"]["state"]


def alerts_since(number: int, log: Path = LOG) -> tuple[list, int]:
    """What was told after the alert of this number, over the log's rotations, and how much of it is gone."""
    records = {record["number"]: record for record in read_log(log) if record["number"] > number}
    return list(records.values()), max(records, default=number) - number - len(records)


def main() -> None:
    """Work for as long as asked, at least once through everything; print the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=0, help="how long to go on")
    arguments = parser.parse_args()
    ready = {
        work.name: subprocess.run(
            ["sh", "-c", work.needs], env=ENVIRONMENT, capture_output=True, check=False
        ).returncode
        == 0
        for work in WORKS
    }
    rounds, faults = Counter(), {}
    before = last_number(LOG)
    begin = time.monotonic()
    while not rounds or time.monotonic() - begin < arguments.minutes * 60:
        for work in WORKS:
            if ready[work.name]:
                rounds[work.name] += 1
                if fault := do(work):
                    faults[work.name] = fault
    time.sleep(SETTLE)
    hours = (time.monotonic() - begin) / 3600
    records, missing = alerts_since(before)
    told = {source: [item for item in records if item["source"] == source] for source in ("rules", "anomaly")}
    result = {
        "hours": hours,
        # While it learns the model tells nothing, which is no merit.
        "model": state(),
        "rounds": rounds,
        "skipped": {work.name: work.why for work in WORKS if not ready[work.name]},
        "faults": faults,
        "alerts": {source: Counter(item["rule"] for item in items) for source, items in told.items()},
        "texts": [item["text"][:300] for items in told.values() for item in items[:40]],
        "per_hour": {source: len(items) / hours for source, items in told.items()},
        "missing": missing,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
