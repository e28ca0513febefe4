"""Plain mkosi on the rendered tree against Lichen, in turn, in one run; medians and ratios to a JSON file.

Every round measures, from a filled store, with nothing else kept:

* plain: ``mkosi`` for the tools tree, then ``mkosi`` for the image, workspace at mkosi's default place;
* cold: ``lichen build`` without any kept component;
* edit: one line of an overlay file changed, then ``lichen lock`` and ``lichen build``;
* plain again: ``mkosi --force`` after that edit, tools tree kept (plain mkosi keeps nothing else);
* unchanged: ``lichen build`` once more.

The project is copied: a run changes neither the checkout, its images, nor the machine's cache but for the store.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from builder.foundation.place import default_cache

PROFILE = "classroom-jupyterhub"
EDITED = Path("overlays/base-system/tree/etc/locale.conf")
LICHEN = [sys.executable, "-m", "builder.cli.main"]
AIMS = {"cold / plain": 0.5, "edit / plain": 0.15}


def timed(command: Sequence[str | Path], folder: Path, env: dict[str, str], log: Path) -> float:
    """Seconds that ``command`` takes from start to end.

    Raises:
        subprocess.CalledProcessError: it failed; its output is in ``log``.
    """
    begin = time.monotonic()
    with log.open("ab") as stream:
        subprocess.run([str(word) for word in command], cwd=folder, env=env, stdout=stream, stderr=stream, check=True)
    return time.monotonic() - begin


class Round(dict[str, float]):
    """Seconds of one round, each told as soon as it is known."""

    def __setitem__(self, what: str, seconds: float) -> None:
        """Keep and print a measurement."""
        super().__setitem__(what, seconds)
        print(f"{what:12} {seconds:8.1f} s", flush=True)


def one_round(project: Path, work: Path, store: Path, number: int) -> dict[str, float]:
    """All measurements once, each from the same beginning."""
    log = work / "bench.log"
    cache = work / f"cache-{number}"
    cache.mkdir()
    (cache / "store").symlink_to(store)
    env = {**os.environ, "LICHEN_CACHE": str(cache), "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    lichen = [*LICHEN, "--project", str(project)]
    seconds = Round()

    timed([*lichen, "render", PROFILE, work / "tree", "--packages"], project, env, log)
    seconds["cold"] = timed([*lichen, "build", PROFILE], project, env, log)
    (mkosi,) = (cache / "components/mkosi").glob("*/usr/lib/python3/dist-packages")
    plain_env = {**os.environ, "PYTHONPATH": str(mkosi)}
    plain = [sys.executable, "-m", "mkosi", "--force", "build"]
    seconds["plain tools"] = timed(plain, work / "tree/tools", plain_env, log)
    seconds["plain image"] = timed(plain, work / "tree", plain_env, log)

    with (project / EDITED).open("a") as stream:
        stream.write(f"# edit {number}\n")
    locking = timed([*lichen, "lock", PROFILE], project, env, log)
    seconds["edit"] = locking + timed([*lichen, "build", PROFILE], project, env, log)
    shutil.copy(project / EDITED, work / "tree/extra" / EDITED.relative_to("overlays/base-system/tree"))
    seconds["plain edit"] = timed(plain, work / "tree", plain_env, log)
    seconds["unchanged"] = timed([*lichen, "build", PROFILE], project, env, log)

    for folder in (cache, work / "tree", project / "out"):
        shutil.rmtree(folder)
    return seconds


def ratios(median: dict[str, float]) -> dict[str, float]:
    """What the aims speak of; plain counts with its tools tree against cold, without against an edit."""
    plain = median["plain tools"] + median["plain image"]
    return {
        "cold / plain": median["cold"] / plain,
        "edit / plain": median["edit"] / median["plain edit"],
        "unchanged / plain": median["unchanged"] / median["plain edit"],
    }


def main() -> None:
    """Measure, print the table, write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("bench.json"))
    arguments = parser.parse_args()
    root = Path(__file__).resolve().parents[1]
    store = default_cache().store
    measured: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="lichen-bench-", dir="/var/tmp") as name:
        work = Path(name)
        project = work / "project"
        project.mkdir()
        for part in ("profiles", "overlays"):
            shutil.copytree(root / part, project / part, symlinks=True)
        store.mkdir(parents=True, exist_ok=True)
        for number in range(arguments.rounds):
            for what, seconds in one_round(project, work, store, number).items():
                measured[what].append(seconds)
    median = {what: statistics.median(values) for what, values in measured.items()}
    result = {
        "profile": PROFILE,
        "rounds": arguments.rounds,
        "processors": os.cpu_count(),
        "seconds": {what: [round(value, 2) for value in values] for what, values in measured.items()},
        "median": {what: round(value, 2) for what, value in median.items()},
        "ratio": {what: round(value, 3) for what, value in ratios(median).items()},
        "aim": AIMS,
    }
    arguments.output.write_text(json.dumps(result, indent=2) + "\n")
    for what, ratio in ratios(median).items():
        aim = f"  aim <= {AIMS[what]}" if what in AIMS else ""
        print(f"{what:18} {ratio:6.3f}{aim}")
    print(f"written to {arguments.output}")


if __name__ == "__main__":
    main()
