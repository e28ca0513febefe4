"""How well the model tells attacks from ordinary work, beside a baseline: both sorts of windows, made here and now.

    python3 suite.py --learn 10 --judge 10

Runs as root on the machine that is watched, with a sensor of its own beside the agent's. Ordinary work
(../benign/work.py) goes on all the time: first to learn from, then while actions of attackers (../attacks/actions.py)
happen between, each once. A window counts as an attack when an event in it came of such an action. A third of the kinds
of work is kept from learning, and some work runs in units of its own as some actions do: what is new is not yet an
attack. Prints one JSON object.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict
from pathlib import Path

sys.path.append("/usr/lib/lichen/python")
sys.path.append(str(Path(__file__).resolve().parents[1] / "attacks"))
sys.path.append(str(Path(__file__).resolve().parents[1] / "benign"))
from action import in_unit
from actions import ACTIONS
from lichen_guard.evaluation import compare
from lichen_guard.rules import load_rules
from lichen_guard.sensor import Sensor
from lichen_guard.settings import OBJECT, rule_files
from lichen_guard.windows import SECOND, Windows, unit_family
from work import WORKS

# Transient units of actions, whose processes are systemd's children.
UNITS = ("attacked-", "jupyter-attacked-", "atd.")


class Watcher:
    """Gathers windows, each with its label, from a sensor of its own.

    Attributes:
        attackers: process identifiers of the shells in which actions ran.
        labelled: windows that are over, and whether an attack was in them.
    """

    def __init__(self, seconds: int) -> None:
        self.sensor = Sensor(OBJECT, ring_bytes=8 << 20)
        self.sensor.set_watches(load_rules(rule_files()).watches())
        self.windows = Windows(seconds * SECOND)
        self.attackers, self.marks, self.labelled = set(), {}, []
        self.enough = threading.Event()
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()

    def _watch(self) -> None:
        while not self.enough.is_set():
            self.sensor.poll(100, self._see)
            self._close(self.windows.expire(time.clock_gettime_ns(time.CLOCK_BOOTTIME)))

    def _see(self, event) -> None:
        if event.process.pid == os.getpid():
            return
        self._close(self.windows.expire(event.time))
        family = unit_family(event)
        process = event.process
        attack = process.unit.startswith(UNITS) or process.pid in self.attackers
        attack = attack or any(item.pid in self.attackers for item in process.ancestors())
        self.marks[family] = self.marks.get(family, False) or attack
        self._close(self.windows.add(event))

    def _close(self, windows) -> None:
        self.labelled += [(window, self.marks.pop(window.unit, False)) for window in windows]

    def stop(self) -> None:
        """No more windows."""
        self.enough.set()
        self.thread.join()
        self.sensor.close()


def run(script: str, started=lambda pid: None) -> None:
    """Run a script as the suites do, and let ``started`` know its process."""
    work, open_folder = tempfile.mkdtemp(dir="/var/lib"), tempfile.mkdtemp(dir="/var/tmp")
    environment = {**os.environ, "WORK": work, "OPEN": open_folder}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    file = Path(work) / ".script"
    # The shell waits until its number is known.
    file.write_text(f"read go\n{script}")
    process = subprocess.Popen(["sh", file], cwd=work, env=environment, stdin=subprocess.PIPE, **quiet)
    started(process.pid)
    process.communicate(b"go\n", timeout=900)
    for folder in (work, open_folder):
        shutil.rmtree(folder, ignore_errors=True)


def possible(items):
    """Those that can be done on this machine."""
    return [
        item
        for item in items
        if subprocess.run(["sh", "-c", item.needs], capture_output=True, check=False).returncode == 0
    ]


def work_on(works, enough: threading.Event) -> None:
    """Ordinary work, again and again; every third time in a unit of its own."""
    number = 0
    while True:
        for work in works:
            if enough.is_set():
                return
            run(in_unit(f"worked-{number % 5}", f"cd $WORK; {work.script}") if number % 3 == 2 else work.script)
            number += 1


def main() -> None:
    """Learn, judge, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--learn", type=float, default=10, help="minutes of ordinary work to learn from")
    parser.add_argument("--judge", type=float, default=10, help="minutes of work with attacks between, at least")
    parser.add_argument("--window", type=int, default=5, help="seconds of a window")
    parser.add_argument("--rate", type=float, default=0.01, help="share of normal windows that may be told")
    arguments = parser.parse_args()
    works, actions = possible(WORKS), possible(ACTIONS)
    watcher, learning_over, enough = Watcher(arguments.window), threading.Event(), threading.Event()
    known = [work for number, work in enumerate(works) if number % 3]
    worker = threading.Thread(target=work_on, args=(known, learning_over))
    worker.start()
    time.sleep(arguments.learn * 60)
    learning_over.set()
    worker.join()
    learned = len(watcher.labelled)
    worker = threading.Thread(target=work_on, args=(works, enough))
    worker.start()
    deadline = time.monotonic() + arguments.judge * 60
    pause = max(0.0, arguments.judge * 60 / len(actions) - 1)
    for action in actions:
        run(action.script, watcher.attackers.add)
        time.sleep(pause)
    time.sleep(max(0.0, deadline - time.monotonic()))
    enough.set()
    worker.join()
    watcher.stop()
    normal = [window for window, _ in watcher.labelled[:learned]]
    judged = watcher.labelled[learned:]
    result = asdict(compare(normal, judged, arguments.rate))
    work = {"work": len(works), "work_learned": len(known)}
    print(json.dumps({**result, "window": arguments.window, "actions": len(actions), **work}))


if __name__ == "__main__":
    main()
