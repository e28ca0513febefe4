"""What the agent costs: the same work with and without it, in turn; rates by the clock on the wall, medians and ratios.

    python3 suite.py --rounds 5

Runs as root; stops and starts lichen-guard.service, which tells that it was stopped. Prints one JSON object.
"""

import argparse
import json
import os
import statistics
import subprocess
import time
from collections import defaultdict

UNIT = "lichen-guard.service"
SECONDS = 4.0  # for each measurement
# Steps of training in a second, once everything is warm.
TRAINING = """
import sys, time, torch
torch.manual_seed(0)
torch.set_num_threads(1)
model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
x, y = torch.randn(64, 64), torch.randn(64, 1)
def step():
    optimizer.zero_grad()
    torch.nn.functional.mse_loss(model(x), y).backward()
    optimizer.step()
for line in sys.stdin:
    for _ in range(5):
        step()
    begin, done = time.monotonic(), 0
    while time.monotonic() - begin < float(line):
        step()
        done += 1
    print(done / (time.monotonic() - begin), flush=True)
"""


def rate(act) -> float:
    """How often ``act`` can be done in a second."""
    for _ in range(5):
        act()
    begin, done = time.monotonic(), 0
    while time.monotonic() - begin < SECONDS:
        act()
        done += 1
    return done / (time.monotonic() - begin)


def start_program() -> None:
    """Start a program and wait for it."""
    os.waitpid(os.posix_spawn("/usr/bin/true", ["true"], {}), 0)


def opener(path: str):
    """Opens a file to read."""
    return lambda: os.close(os.open(path, os.O_RDONLY))


class Training:
    """A process that trains for a while whenever it is asked to."""

    def __init__(self) -> None:
        candidates = ("/opt/ai/bin/python3", "/usr/bin/python3")
        self.process = None
        for python in candidates:
            if (
                os.path.exists(python)
                and not subprocess.run([python, "-c", "import torch"], capture_output=True, check=False).returncode
            ):
                command = [python, "-c", TRAINING]
                self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
                return

    def steps(self) -> float:
        """Steps in a second."""
        self.process.stdin.write(f"{SECONDS}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def stop(self) -> None:
        """No more training."""
        if self.process:
            self.process.stdin.close()
            self.process.wait()


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    training = Training()
    # Nobody's rules look at the first; the second is read by this program without leave, and told each time.
    work = {
        "programs started": lambda: rate(start_program),
        "file opened": lambda: rate(opener("/usr/share/common-licenses/GPL-3")),
        "watched file opened": lambda: rate(opener("/etc/gshadow")),
    }
    if training.process:
        work["steps of training"] = training.steps
    measured = {name: defaultdict(list) for name in work}
    for number in range(arguments.rounds):
        # Which comes first is turned round each time, since machines get slower or faster.
        for state in ("with", "without") if number % 2 else ("without", "with"):
            subprocess.run(["systemctl", "start" if state == "with" else "stop", UNIT], check=True)
            time.sleep(2)
            for name, measure in work.items():
                measured[name][state].append(measure())
    subprocess.run(["systemctl", "start", UNIT], check=True)
    training.stop()
    medians = {
        name: {state: statistics.median(values) for state, values in states.items()}
        for name, states in measured.items()
    }
    ratios = {name: states["with"] / states["without"] for name, states in medians.items()}
    print(json.dumps({"rounds": arguments.rounds, "per_second": medians, "ratio": ratios, "all": measured}))


if __name__ == "__main__":
    main()
