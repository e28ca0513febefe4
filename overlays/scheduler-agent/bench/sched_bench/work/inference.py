"""An inference server under load beside a batch job: requests come when they come, whether it keeps up or not.

    python3 -m sched_bench.work.inference --seed 1 --seconds 8 --scale 1

Two workers run a small network of NumPy's; a client sends requests over Unix sockets at the times of a Poisson process
by the seed. A response counts from the moment when its request was due, so that a client that comes late hides nothing.
What has no response at the end counts with the time that it has waited until then: it would have taken longer still.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import selectors
import socket
import time

from .load import Hogs, responses

# Before NumPy: threads of its own would be one more scheduler.
for _library in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_library, "1")

import numpy as np  # noqa: E402

WORKERS = 2
RATE = 25.0  # requests in a second
WIDTH, LAYERS = 48, 3


def serve(connection: socket.socket, repeats: int) -> None:
    """Answers requests of one byte each until the other side is gone."""
    chance = np.random.default_rng(0)
    weights = [chance.standard_normal((WIDTH, WIDTH)).astype(np.float32) / WIDTH for _ in range(LAYERS)]
    while request := connection.recv(1):
        values = np.full((4, WIDTH), request[0] / 256, dtype=np.float32)
        for _ in range(repeats):
            for weight in weights:
                values = np.maximum(values @ weight, 0)
        connection.sendall(request)


class Client:
    """Sends requests when they are due, each to the worker that has fewest, and notes the responses."""

    def __init__(self, workers: list[socket.socket]) -> None:
        self.waiting: dict[socket.socket, list[float]] = {worker: [] for worker in workers}
        self.took: list[float] = []
        self._selector = selectors.DefaultSelector()
        for worker in workers:
            self._selector.register(worker, selectors.EVENT_READ)

    def send(self, due: float) -> None:
        """A request that was due at ``due``."""
        worker = min(self.waiting, key=lambda each: len(self.waiting[each]))
        worker.sendall(bytes([len(self.took) & 0xFF]))
        self.waiting[worker].append(due)

    def receive(self, until: float) -> None:
        """Takes responses until the moment has come."""
        while (left := until - time.monotonic()) > 0:
            for key, _ in self._selector.select(left):
                worker = key.fileobj
                assert isinstance(worker, socket.socket)  # noqa: S101
                for _ in worker.recv(64):
                    self.took.append(time.monotonic() - self.waiting[worker].pop(0))

    def outstanding(self, now: float) -> list[float]:
        """Seconds that each request without a response has waited."""
        return [now - due for dues in self.waiting.values() for due in dues]


def measured(client: Client, now: float, seconds: float) -> dict[str, float]:
    """What is printed of ``seconds`` of requests that ended ``now``; only what was answered is work done."""
    left = client.outstanding(now)
    rate = len(client.took) / seconds
    return {"throughput": rate, "unanswered": len(left), **responses([*client.took, *left])}


def main() -> None:
    """Work, print what was measured."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--scale", type=float, default=1.0)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)  # noqa: S311
    ends, children = [], []
    for _ in range(WORKERS):
        ours, theirs = socket.socketpair()
        child = os.fork()
        if child == 0:
            for end in (*ends, ours):
                end.close()
            serve(theirs, max(1, round(arguments.scale)))
            os._exit(0)
        theirs.close()
        ends.append(ours)
        children.append(child)
    client = Client(ends)
    begin = due = time.monotonic()
    until = begin + arguments.seconds
    hogs = Hogs(os.cpu_count() or 1, until)
    while (due := due + chance.expovariate(RATE)) < until:
        client.receive(due)
        client.send(due)
    client.receive(until)
    found = measured(client, time.monotonic(), arguments.seconds)
    background = hogs.rate()
    for end in ends:
        end.close()
    for child in children:
        os.waitpid(child, 0)
    print(json.dumps({**found, "background": background}))


if __name__ == "__main__":
    main()
