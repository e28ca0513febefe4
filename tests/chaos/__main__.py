"""Many rounds in random order of commands and faults; see ``ci/chaos --help``."""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import json
import os
import random
import shlex
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from builder.foundation.place import Project, default_cache
from builder.foundation.workbench import Workbench
from builder.verbs.build import build
from builder.verbs.lock import lock
from builder.verbs.plan import make_plan
from tests.chaos.faults import disks
from tests.chaos.rounds import Report, brief, names, run_round
from tests.chaos.stage import REPOSITORY, Stage
from tests.chaos.stages import BuildStage, FetchStage, LockStage, Served, unhurried
from tests.chaos.watch import adopt_orphans
from tests.conftest import SMALL_PROFILE
from tests.lock.archive import Key
from tests.store.mirror import Mirror

ROUNDS = 50
# Rounds of `ci/test`: each kind at least once.
SHORT = {
    **{"lock-kill": 3, "lock-full": 1, "lock-damage": 1, "lock-lie": 2},
    **{"fetch-kill": 3, "fetch-full": 1, "fetch-damage": 2, "fetch-lie": 2},
    **{"build-kill": 1, "build-full": 1, "build-damage": 1},
}
KINDS = tuple(SHORT)


def counts(rounds: int) -> dict[str, int]:
    """Rounds of each kind: so many kills of each command, a fifth of that of everything else."""
    return {kind: rounds if kind.endswith("-kill") else -(-rounds // 5) for kind in KINDS}


def parse(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="ci/chaos", description="Disturb lock, fetch and build at random moments.")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="kills of each command; a fifth of other faults")
    parser.add_argument("--short", action="store_true", help="the few rounds that are part of ci/test")
    parser.add_argument("--seed", type=int, help="decides everything that is random; a new one unless given")
    parser.add_argument("--only", default="*", metavar="PATTERN", help="rounds like lock-kill-3 or 'build-*'")
    parser.add_argument("--project", type=Path, help="a project with the profile `small`, locked; else made anew")
    parser.add_argument("--output", type=Path, default=Path("chaos.json"), help="the summary")
    return parser.parse_args(words)


def small_project(root: Path, given: Path | None) -> Project:
    """A copy of the project that was given, or the small one of the tests, locked from the real archive."""
    project = Project(root)
    if given:
        for name in ("profiles", "overlays", "kernel-configs"):
            if (given / name).is_dir():
                shutil.copytree(given / name, root / name, symlinks=True)
        return project
    project.profiles.mkdir(parents=True)
    for overlay in ("base-system", "ssh"):
        shutil.copytree(REPOSITORY / "overlays" / overlay, project.overlays / overlay, symlinks=True)
    (project.profiles / "small.yaml").write_text(SMALL_PROFILE)
    lock(Workbench(project, default_cache()), "small", accept_expired=frozenset({"forky"}))
    return project


@contextlib.contextmanager
def served(work: Path) -> Iterator[dict[str, Stage]]:
    """The stages that need a mirror, measured."""
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(tempfile.TemporaryDirectory(prefix="key-"))
        key = Key(Path(home))
        stack.callback(key.close)
        mirror, slow, honest, other = (stack.enter_context(Mirror()) for _ in range(4))
        locking = LockStage(served=Served.make(work / "lock-world", key, mirror, honest))
        locking.prepare(work / "older")
        measure(locking, work / "lock")
        fetching = FetchStage(
            served=Served.make(work / "fetch-world", key, slow, other),
            lock=locking.reference["lock"],
            filled=work / "filled",
        )
        slow.always = unhurried
        measure(fetching, work / "fetch")
        # That was with an empty store; the rounds begin with half of it.
        fetching.seconds = fetching.run(fetching.place(work / "half")).seconds
        yield {"lock": locking, "fetch": fetching}


def build_stage(work: Path, given: Path | None) -> BuildStage:
    """The build of the small image, measured."""
    project = small_project(work / "small", given)
    machine = default_cache()
    bench = Workbench(project, machine)
    if not all(item.cached for item in make_plan(bench, "small").components if item.name != "image"):
        # Else they would count as time of the image.
        shutil.rmtree(build(bench, "small").folder)
    stage = BuildStage(project=project, machine=machine, finished=work / "finished")
    measure(stage, work / "build")
    return stage


def measure(stage: Stage, root: Path) -> None:
    place = stage.place(root)
    with disks(place, dict.fromkeys(stage.folders(place).values(), 4 << 30)):
        stage.measure(place)
        if isinstance(stage, FetchStage | BuildStage):
            stage.keep(place)
    shutil.rmtree(root)
    peaks = ", ".join(f"{name} {size >> 10} KiB" for name, size in stage.peaks.items())
    print(f"{stage.name} undisturbed: {stage.seconds:.1f} s, {peaks}", flush=True)


def run(arguments: argparse.Namespace, seed: int, work: Path) -> tuple[dict[str, Stage], list[Report]]:
    wanted = SHORT if arguments.short else counts(arguments.rounds)
    rounds = [name for name in names(wanted) if fnmatch.fnmatch(name, arguments.only)]
    # Were the machine to change while we run, no command would get all of it.
    random.Random(seed).shuffle(rounds)
    stages: dict[str, Stage] = {}
    reports = []
    with contextlib.ExitStack() as stack:
        if any(name.startswith("build") for name in rounds):
            stages["build"] = build_stage(work, arguments.project)
        if any(not name.startswith("build") for name in rounds):
            stages.update(stack.enter_context(served(work)))
        adopt_orphans()
        for number, name in enumerate(rounds, start=1):
            report = run_round(stages[name.split("-")[0]], name, seed, work / name)
            reports.append(report)
            print(
                f"{number:4}/{len(rounds)} {name:16} {brief(report.trouble, 60)}; {brief(report.happened, 120)}; ",
                end="",
            )
            print(f"recovered in {report.recovery:.1f} s" if not report.broken else "BROKEN", flush=True)
            for line in report.broken:
                print(f"     {brief(line, 400)}", flush=True)
            if report.broken:
                short = " --short" if arguments.short else f" --rounds {arguments.rounds}"
                print(f"     again: ci/chaos --seed {seed}{short} --only {shlex.quote(name)}", flush=True)
    return stages, reports


def summary(seed: int, stages: dict[str, Stage], reports: Sequence[Report]) -> dict[str, object]:
    kinds = Counter(report.name.rpartition("-")[0] for report in reports)
    return {
        "seed": seed,
        "processors": os.cpu_count(),
        "undisturbed": {name: round(stage.seconds, 1) for name, stage in stages.items()},
        "rounds": len(reports),
        "kinds": {
            kind: {
                "rounds": count,
                "missed": sum(r.missed for r in reports if r.name.startswith(f"{kind}-")),
                "broken": sum(bool(r.broken) for r in reports if r.name.startswith(f"{kind}-")),
                "slowest recovery": max(r.recovery for r in reports if r.name.startswith(f"{kind}-")),
            }
            for kind, count in sorted(kinds.items())
        },
        "broken": [report.as_dict() for report in reports if report.broken],
        "reports": [report.as_dict() for report in reports],
    }


def main() -> None:
    """Measure, disturb, tell."""
    arguments = parse(sys.argv[1:])
    seed = random.SystemRandom().randrange(1 << 32) if arguments.seed is None else arguments.seed
    print(f"seed {seed}", flush=True)
    work = Path(tempfile.mkdtemp(prefix="lichen-chaos-", dir="/var/tmp"))
    try:
        stages, reports = run(arguments, seed, work)
    except BaseException:
        shutil.rmtree(work)
        raise
    arguments.output.write_text(json.dumps(summary(seed, stages, reports), indent=2) + "\n")
    broken = [report for report in reports if report.broken]
    print(f"{len(reports)} rounds, {len(broken)} broken; summary in {arguments.output}")
    if broken:
        print(f"what they left is in {work}")
        sys.exit(1)
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
