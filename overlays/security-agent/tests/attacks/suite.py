"""Does every action of actions.py in turn and tells which alerts came: recall per action, and how long each took.

    python3 suite.py [--only NAME] [--patience SECONDS]

Runs as root on the machine that is watched. Prints one JSON object; exit code 0 when it ran through, whatever was seen.
"""

import argparse
import datetime
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from actions import ACTIONS

LOG = Path("/var/log/lichen-guard/events.jsonl")
FOLDER = "/var/lib"  # not one that everybody may write to: what runs there is to be told for other reasons
PAUSE = 0.01  # seconds between looks at the log; latencies are that much too long at most


class Alerts:
    """The agent's log as it grows, over rotations; there is none before the first alert."""

    def __init__(self) -> None:
        self.file = LOG.open("rb") if LOG.exists() else None
        if self.file:
            self.file.seek(0, os.SEEK_END)
        self.begun = b""  # of a line that the agent is still writing

    def new(self):
        """Records since the last call."""
        records = self._read()
        if LOG.exists() and (not self.file or os.fstat(self.file.fileno()).st_ino != LOG.stat().st_ino):
            records += self._read()
            self.file = LOG.open("rb")
            records += self._read()
        return records

    def _read(self):
        *lines, self.begun = (self.begun + (self.file.read() if self.file else b"")).split(b"\n")
        return [json.loads(line) for line in lines if line.strip()]


def act(action, alerts: Alerts, patience: float) -> dict:
    """Do one action and wait for one of its alerts."""
    told = {"name": action.name, "technique": action.technique, "expected": action.expected}
    if subprocess.run(["sh", "-c", action.needs], capture_output=True, check=False).returncode:
        return told | {"skipped": action.why}
    alerts.new()
    work, open_folder = tempfile.mkdtemp(dir=FOLDER), tempfile.mkdtemp(dir="/var/tmp")
    begin = time.time()
    try:
        environment = {**os.environ, "WORK": work, "OPEN": open_folder}
        # From a file, as a person's script: what it does is to be told, not the words in it.
        script = Path(work) / ".script"
        script.write_text(action.script)
        done = subprocess.run(["sh", script], env=environment, cwd=work, capture_output=True, check=False, timeout=300)
        # By the clock of the events, of which none from before counts.
        seen, latency = [], None
        deadline = time.monotonic() + patience
        while latency is None and time.monotonic() < deadline:
            for record in alerts.new():
                moment = datetime.datetime.fromisoformat(record["time"]).timestamp()
                if record["source"] != "rules" or moment < begin:
                    continue
                seen.append(record["rule"])
                if latency is None and record["rule"] in action.expected:
                    latency = time.time() - moment
            time.sleep(PAUSE)
    finally:
        shutil.rmtree(work, ignore_errors=True)
        shutil.rmtree(open_folder, ignore_errors=True)
    told |= {"told": latency is not None, "seconds": latency, "alerts": sorted(set(seen)), "exit": done.returncode}
    if latency is None:
        told["output"] = (done.stdout + done.stderr).decode(errors="replace")[-1000:]
    return told


def main() -> None:
    """Run all, print the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", help="do the actions of these names alone")
    parser.add_argument("--patience", type=float, default=10, help="seconds to wait for an alert")
    arguments = parser.parse_args()
    alerts = Alerts()
    chosen = [action for action in ACTIONS if not arguments.only or action.name in arguments.only]
    told = [act(action, alerts, arguments.patience) for action in chosen]
    done = [item for item in told if "skipped" not in item]
    seen = [item for item in done if item["told"]]
    print(json.dumps({"recall": len(seen) / len(done) if done else None, "done": len(done), "actions": told}))


if __name__ == "__main__":
    main()
