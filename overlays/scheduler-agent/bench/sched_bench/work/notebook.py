"""A notebook on a busy machine: somebody thinks, runs a cell, waits for it; beside it processes that never rest.

    python3 -m sched_bench.work.notebook --seed 1 --seconds 8 --scale 1

The cell runs in a process of its own, as a notebook's kernel does. Think times are exponential, cells' work is
log-normal, both by the seed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import time

from .load import Hogs, responses, spin

THINK = 0.04  # seconds in the mean; a person's is longer and would only make the run longer
CELL = 4000  # steps in the median


def kernel(connection: socket.socket) -> None:
    """Runs cells until the other side is gone."""
    while request := connection.recv(16):
        spin(int(request))
        connection.sendall(b"done")


def main() -> None:
    """Work, print what was measured."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--scale", type=float, default=1.0)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)  # noqa: S311
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        ours.close()
        kernel(theirs)
        os._exit(0)
    theirs.close()
    until = time.monotonic() + arguments.seconds
    hogs = Hogs(2 * (os.cpu_count() or 1), until)
    took = []
    while time.monotonic() < until:
        time.sleep(chance.expovariate(1 / THINK))
        steps = int(CELL * arguments.scale * chance.lognormvariate(0, 0.5))
        begin = time.monotonic()
        ours.sendall(b"%d" % steps)
        ours.recv(16)
        took.append(time.monotonic() - begin)
    background = hogs.rate()
    ours.close()
    os.waitpid(child, 0)
    print(json.dumps({"throughput": len(took) / arguments.seconds, "background": background, **responses(took)}))


if __name__ == "__main__":
    main()
