"""A compile: C files made from the seed, one make with a job more than there are processors.

python3 -m sched_bench.work.compilation --seed 1 --scale 1
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FILES = 4


def step(chance: random.Random) -> str:
    """A line of a loop."""
    mask, bit, factor = chance.randrange(1 << 16), 1 << chance.randrange(8), chance.randrange(3, 99)
    return f"        if ((x ^ {mask}) & {bit}) x = x * {factor} + i;\n"


def source(number: int, chance: random.Random) -> str:
    """A file with a few functions of loops and branches."""
    functions = []
    for name in range(chance.randint(1, 3)):
        steps = "".join(step(chance) for _ in range(chance.randint(2, 8)))
        functions.append(
            f"unsigned f{number}_{name}(unsigned x)\n{{\n    for (unsigned i = 0; i < x % 64; i++) {{\n{steps}    }}\n"
            "    return x;\n}\n"
        )
    return "\n".join(functions)


def main() -> None:
    """Compile, print files in a second."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--scale", type=float, default=1.0)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)  # noqa: S311
    count = max(2, round(FILES * arguments.scale))
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:  # in memory: disks are not measured
        folder = Path(name)
        for number in range(count):
            (folder / f"f{number}.c").write_text(source(number, chance))
        objects = " ".join(f"f{number}.o" for number in range(count))
        (folder / "Makefile").write_text(f"all: {objects}\n%.o: %.c\n\t@gcc -O1 -c -o $@ $<\n")
        begin = time.monotonic()
        done = subprocess.run(
            ["make", "-s", f"-j{(os.cpu_count() or 1) + 1}"], cwd=folder, stdout=sys.stderr, check=False
        )
        took = time.monotonic() - begin
    if done.returncode:
        sys.exit(f"make ended with {done.returncode}")
    print(json.dumps({"throughput": count / took}))


if __name__ == "__main__":
    main()
