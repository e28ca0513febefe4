"""What the sensor costs: ``python -m tests.guard.measure OBJECT [ROUNDS [SCALE]]`` as root.

Each round measures without and with the sensor (in a process of its own, its events dropped), one after the other, so
that what else the machine does meets both. Prints medians of the processor time that one action takes, and their
ratio; what the sensor's process takes itself stands beside it.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.synchronize import Event
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "overlays/agents/tree/usr/lib/lichen/python"))
sys.path.append(str(Path(__file__).parents[2] / "overlays/security-agent/tree/usr/lib/lichen/python"))

from lichen_guard.sensor import Sensor
from lichen_guard.watch import Interest, Watch


def sense(object_file: Path, watched: str, ready: Event, enough: Event) -> None:
    """The agent without its rules."""
    with Sensor(object_file, ring_bytes=8 << 20) as sensor:
        sensor.set_watches([Watch("prefix", watched, Interest.READ), Watch("name", "id_rsa", Interest.READ)])
        ready.set()
        began, told = time.process_time(), 0
        while not enough.is_set():
            told += sensor.poll(100, lambda _: None)
        took = time.process_time() - began
        lost = {kind: count for kind, count in sensor.lost().items() if count}
        print(f"  sensor's process: {took:.2f} s for {told} events; lost: {lost or 'nothing'}, faulty: {sensor.faulty}")


def spent() -> float:
    """Seconds of processor time of this process and those that it waited for."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def cost(count: int, act: Callable[[], object]) -> float:
    """Microseconds of processor time that it takes once."""
    before = spent()
    for _ in range(count):
        act()
    return (spent() - before) / count * 1e6


def start() -> None:
    """Starts a program and waits for it."""
    os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)


def main() -> None:
    """Measures and prints."""
    object_file = Path(sys.argv[1])
    rounds, scale = (int(text) for text in (sys.argv[2:] + ["5", "1000"][len(sys.argv) - 2 :]))
    with tempfile.TemporaryDirectory() as folder:
        os.mkdir(f"{folder}/watched")
        for name in ("plain", "watched/file"):
            Path(folder, name).touch()

        def opened(name: str) -> Callable[[], None]:
            return lambda: os.close(os.open(f"{folder}/{name}", os.O_RDONLY))

        works = {"exec": (start, scale // 5), "open": (opened("plain"), scale * 20)}
        works["open, watched"] = (opened("watched/file"), scale)
        found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in works}
        for _ in range(rounds):
            for name, (act, count) in works.items():
                found[name][0].append(cost(count, act))
            ready, enough = multiprocessing.Event(), multiprocessing.Event()
            agent = multiprocessing.Process(target=sense, args=(object_file, f"{folder}/watched", ready, enough))
            agent.start()
            ready.wait()
            for name, (act, count) in works.items():
                found[name][1].append(cost(count, act))
            enough.set()
            agent.join()
    for name, (without, within) in found.items():
        before, after = statistics.median(without), statistics.median(within)
        print(f"{name}: {before:.2f} us without, {after:.2f} us with the sensor: {after / before:.2f}")


if __name__ == "__main__":
    main()
