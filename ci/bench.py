"""Plain mkosi on the rendered tree against Lichen, in turn, in one run; medians and ratios to a JSON file.

Every round measures, from a filled store, with nothing else kept:

* plain: ``mkosi`` for the tools tree, then ``mkosi`` for the image, workspace at mkosi's default place;
* cold: ``lichen build`` without any kept component but the kernel's packages, which plain mkosi gets too;
* edit: one line of an overlay file changed, then ``lichen lock`` and ``lichen build``;
* plain again: ``mkosi --force`` after that edit, tools tree kept (plain mkosi keeps nothing else);
* unchanged: ``lichen build`` once more.

Of cold and edit also each part of the build by itself.

With ``--kernel`` once, before the rounds: a kernel compiled with nothing kept, found kept, and compiled again after one
symbol changed (objects kept by ccache); beside plain mkosi, which compiles it in its own tree. It has
no drivers of real machines (``ci/bench.config``), so that it takes a part of the time of the profile's own.

With ``--all`` once, before the rounds: the image of every profile, built alone with nothing kept but its kernel's
packages, one after the other; and all of them so in one run of ``lichen build --all``.

The project is copied: a run changes neither the checkout, its images, nor the machine's cache but for the store.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from builder.foundation.place import Cache, Project, default_cache
from builder.foundation.workbench import Workbench
from builder.steps.profiles import load_recipe
from builder.verbs.everything import every_image_here

PROFILE = "classroom-jupyterhub"
KERNEL = "modules"  # the last of the kernel's components
# The kernel that is compiled: the profile with these fragments instead of its own, in the copied project.
FRAGMENTS = "[base, virt-guest, bpf-security, sched-ext, observability, bench]"
FRAGMENT = Path("kernel-configs/observability.config")
EDITED = Path("overlays/base-system/tree/etc/locale.conf")
LICHEN = [sys.executable, "-m", "builder.cli.main"]
TOGETHER = "all / sum of singles"
AIMS = {"cold / plain": 0.3, "edit / plain": 0.08, TOGETHER: 0.5}


def timed(command: Sequence[str | Path], folder: Path, env: dict[str, str], log: Path) -> float:
    """Seconds that ``command`` takes from start to end.

    Raises:
        subprocess.CalledProcessError: it failed; its output is in ``log``.
    """
    begin = time.monotonic()
    with log.open("ab") as stream:
        subprocess.run([str(word) for word in command], cwd=folder, env=env, stdout=stream, stderr=stream, check=True)
    return time.monotonic() - begin


def parts(command: Sequence[str | Path], folder: Path, env: dict[str, str], log: Path) -> dict[str, float]:
    """Seconds of each part that the ``lichen --json build`` of ``command`` made; parts may run side by side.

    Raises:
        subprocess.CalledProcessError: it failed; its messages are in ``log``.
    """
    words = [str(word) for word in command]
    with log.open("ab") as stream:
        done = subprocess.run(words, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=stream, check=True)
    seconds: dict[str, float] = json.loads(done.stdout)["seconds"]
    return seconds


class Round(dict[str, float]):
    """Seconds of one round, each told as soon as it is known."""

    def __setitem__(self, what: str, seconds: float) -> None:
        """Keep and print a measurement."""
        super().__setitem__(what, seconds)
        print(f"{what:34} {seconds:8.1f} s", flush=True)


def compiled(project: Path, work: Path, store: Path) -> dict[str, float]:
    """What the kernel takes: cold, after a change of one symbol, kept; and plain mkosi's, toolchain tree included."""
    log, cache = work / "bench.log", work / "cache-kernel"
    cache.mkdir()
    (cache / "store").symlink_to(store)
    env = environment(cache)
    lichen = [*LICHEN, "--project", str(project)]
    seconds = Round()
    shutil.copy(Path(__file__).with_name("bench.config"), project / "kernel-configs")
    profile = project / "profiles" / f"{PROFILE}.yaml"
    own = profile.read_text()
    profile.write_text(re.sub(r"fragments: \[.*\]", f"fragments: {FRAGMENTS}", own))
    timed([*lichen, "lock", PROFILE], project, env, log)
    timed([*lichen, "kernel", "config", PROFILE], project, env, log)  # tools and toolchain
    seconds["kernel cold"] = timed([*lichen, "kernel", "build", PROFILE], project, env, log)
    seconds["kernel kept"] = timed([*lichen, "kernel", "build", PROFILE], project, env, log)
    text = (project / FRAGMENT).read_text()
    (project / FRAGMENT).write_text(text.replace("CONFIG_DAMON_RECLAIM=y", "CONFIG_DAMON_RECLAIM=n"))
    timed([*lichen, "lock", PROFILE], project, env, log)
    seconds["kernel edit"] = timed([*lichen, "kernel", "build", PROFILE], project, env, log)
    (project / FRAGMENT).write_text(text)
    timed([*lichen, "lock", PROFILE], project, env, log)
    timed([*lichen, "render", PROFILE, work / "tree", "--packages"], project, env, log)
    (mkosi,) = (cache / "components/mkosi").glob("*/usr/lib/python3/dist-packages")
    plain_env = {**os.environ, "PYTHONPATH": str(mkosi)}
    plain = [sys.executable, "-m", "mkosi", "--force", "build"]
    timed(plain, work / "tree/toolchain", plain_env, log)
    seconds["plain kernel"] = timed(plain, work / "tree/kernel", plain_env, log)
    profile.write_text(own)
    timed([*lichen, "lock", PROFILE], project, env, log)
    for folder in (cache, work / "tree"):
        shutil.rmtree(folder)
    return seconds


def together(project: Path, work: Path, machine: Cache) -> dict[str, float]:
    """What each image takes alone, and all of them in one run; for images of the project as it is.

    Raises:
        subprocess.CalledProcessError: a build failed, or a profile or lock is wrong.
    """
    log = work / "bench.log"
    lichen = [*LICHEN, "--project", str(project)]
    images, _ = every_image_here(Workbench(Project(project), machine))
    for name, architecture in images:
        chosen = [name, "--architecture", architecture]
        timed([*lichen, "fetch", *chosen], project, environment(machine.root), log)
        if load_recipe(Project(project), name).kernel:
            timed([*lichen, "kernel", "build", *chosen], project, environment(machine.root), log)
    singles = [["build", name, "--architecture", architecture] for name, architecture in images]
    seconds = Round()
    for number, words in enumerate([*singles, ["build", "--all"]]):
        cache = fresh_cache(work / f"cache-all-{number}", machine)
        what = "all" if words == ["build", "--all"] else f"alone {words[1]} {words[3]}"
        seconds[what] = timed([*lichen, *words], project, environment(cache), log)
        for folder in (cache, project / "out"):
            shutil.rmtree(folder)
    return seconds


def fresh_cache(cache: Path, machine: Cache) -> Path:
    """A cache with all downloads and kernels' packages of the machine's, and nothing else."""
    (cache / "components").mkdir(parents=True)
    (cache / "store").symlink_to(machine.store)
    (cache / "components" / KERNEL).symlink_to(machine.components / KERNEL)
    return cache


def environment(cache: Path) -> dict[str, str]:
    """For a Lichen that has ``cache``."""
    return {**os.environ, "LICHEN_CACHE": str(cache), "PYTHONPATH": str(Path(__file__).resolve().parents[1])}


def one_round(project: Path, work: Path, machine: Cache, number: int) -> dict[str, float]:
    """All measurements once, each from the same beginning."""
    log = work / "bench.log"
    cache = fresh_cache(work / f"cache-{number}", machine)
    env = environment(cache)
    lichen = [*LICHEN, "--project", str(project)]
    seconds = Round()

    timed([*lichen, "render", PROFILE, work / "tree", "--packages"], project, env, log)
    begin = time.monotonic()
    made = parts([*lichen, "--json", "build", PROFILE], project, env, log)
    seconds["cold"] = time.monotonic() - begin
    for part, took in made.items():
        seconds[f"cold: {part}"] = took
    (mkosi,) = (cache / "components/mkosi").glob("*/usr/lib/python3/dist-packages")
    plain_env = {**os.environ, "PYTHONPATH": str(mkosi)}
    plain = [sys.executable, "-m", "mkosi", "--force", "build"]
    shutil.copytree(kept_kernel(project, lichen, env), work / "tree/kernel/mkosi.output" / KERNEL)
    seconds["plain tools"] = timed(plain, work / "tree/tools", plain_env, log)
    seconds["plain image"] = timed(plain, work / "tree", plain_env, log)

    with (project / EDITED).open("a") as stream:
        stream.write(f"# edit {number}\n")
    begin = time.monotonic()
    timed([*lichen, "lock", PROFILE], project, env, log)
    made = parts([*lichen, "--json", "build", PROFILE], project, env, log)
    seconds["edit"] = time.monotonic() - begin
    for part, took in made.items():
        seconds[f"edit: {part}"] = took
    shutil.copy(project / EDITED, work / "tree/extra" / EDITED.relative_to("overlays/base-system/tree"))
    seconds["plain edit"] = timed(plain, work / "tree", plain_env, log)
    seconds["unchanged"] = timed([*lichen, "build", PROFILE], project, env, log)

    for folder in (cache, work / "tree", project / "out"):
        shutil.rmtree(folder)
    return seconds


def kept_kernel(project: Path, lichen: list[str], env: dict[str, str]) -> Path:
    """The folder with the kernel's packages that the machine's cache holds."""
    done = subprocess.run(
        [*lichen, "kernel", "build", PROFILE], cwd=project, env=env, stdout=subprocess.PIPE, check=True
    )
    return Path(done.stdout.decode().strip())


def ratios(median: dict[str, float]) -> dict[str, float]:
    """What the aims speak of; plain counts with its tools tree against cold, without against an edit."""
    found = {}
    if "plain kernel" in median:
        for what in ("cold", "edit", "kept"):
            found[f"kernel {what} / plain"] = median[f"kernel {what}"] / median["plain kernel"]
    if "cold" in median:
        plain = median["plain tools"] + median["plain image"]
        found["cold / plain"] = median["cold"] / plain
        found["edit / plain"] = median["edit"] / median["plain edit"]
        found["unchanged / plain"] = median["unchanged"] / median["plain edit"]
    if "all" in median:
        found[TOGETHER] = median["all"] / sum(took for what, took in median.items() if what.startswith("alone "))
    return found


def main() -> None:
    """Measure, print the table, write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kernel", action="store_true", help="measure what the kernel takes, too")
    parser.add_argument("--all", action="store_true", help="measure all profiles in one run, too")
    parser.add_argument("--output", type=Path, default=Path("bench.json"))
    arguments = parser.parse_args()
    root = Path(__file__).resolve().parents[1]
    machine = default_cache()
    measured: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="lichen-bench-", dir="/var/tmp") as name:
        work = Path(name)
        project = work / "project"
        project.mkdir()
        for part in ("profiles", "overlays", "kernel-configs"):
            shutil.copytree(root / part, project / part, symlinks=True)
        machine.store.mkdir(parents=True, exist_ok=True)
        if arguments.kernel:
            measured.update({what: [seconds] for what, seconds in compiled(project, work, machine.store).items()})
        if arguments.all:
            measured.update({what: [took] for what, took in together(project, work, machine).items()})
        if arguments.rounds:
            kept_kernel(project, [*LICHEN, "--project", str(project)], dict(os.environ))
        for number in range(arguments.rounds):
            for what, seconds in one_round(project, work, machine, number).items():
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
        print(f"{what:20} {ratio:6.3f}{aim}")
    print(f"written to {arguments.output}")


if __name__ == "__main__":
    main()
