"""What earlier runs tell: estimates, and inputs that outlive the component."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from pathlib import Path

import pytest

from builder.data.history import (
    RUNS,
    TARGETS,
    Past,
    Target,
    add_run,
    estimate,
    last_inputs,
    read_history,
    with_run,
)
from builder.data.plan import Component, Plan
from builder.steps.components import HISTORY, RECORD, ComponentCache

SPAWN = multiprocessing.get_context("spawn")
SMALL = Target(profile="small", architecture="amd64")
OTHER = Target(profile="other", architecture="amd64")
ELSEWHERE = Target(profile="small", architecture="arm64")


def ran(*runs: tuple[Target, float | None]) -> tuple[Past, ...]:
    history: tuple[Past, ...] = ()
    for number, (target, seconds) in enumerate(runs):
        history = with_run(history, target, {"a": str(number)}, seconds)
    return history


def test_no_earlier_run() -> None:
    assert estimate((), SMALL) is None
    assert last_inputs((), SMALL) is None
    # Found kept, never built.
    assert estimate(ran((SMALL, None)), SMALL) is None


def test_median_of_the_last_runs() -> None:
    history = ran(*((SMALL, seconds) for seconds in (900.0, 900.0, 10.0, 30.0, 20.0, 40.0, 21.26)))
    told = estimate(history, SMALL)
    assert told
    assert (told.seconds, told.runs, told.own) == (21.3, RUNS, True)


def test_own_runs_are_preferred_to_those_of_other_profiles() -> None:
    history = ran((OTHER, 10.0), (OTHER, 30.0), (ELSEWHERE, 800.0))
    told = estimate(history, SMALL)
    assert told
    assert (told.seconds, told.runs, told.own) == (20.0, 2, False)
    told = estimate((*history, *ran((SMALL, 50.0))), SMALL)
    assert told
    assert (told.seconds, told.runs, told.own) == (50.0, 1, True)


def test_another_architecture_tells_nothing() -> None:
    """Packages' scripts are emulated there: other times altogether."""
    assert estimate(ran((ELSEWHERE, 800.0)), SMALL) is None


def test_newest_inputs_of_each_target() -> None:
    history = ran((SMALL, 1.0), (OTHER, 1.0), (SMALL, None))
    assert last_inputs(history, SMALL) == {"a": "2"}
    assert last_inputs(history, OTHER) == {"a": "1"}
    assert [past.target for past in history] == [OTHER, SMALL]
    # Finding it kept forgets no duration.
    assert history[-1].seconds == (1.0,)


def test_file_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / HISTORY
    for number in range(TARGETS + 3):
        for _ in range(RUNS + 1):
            add_run(path, Target(profile=f"p{number}", architecture="amd64"), {"a": "1"}, 1.0)
    history = read_history(path)
    assert [past.target.profile for past in history] == [f"p{number}" for number in range(3, TARGETS + 3)]
    assert {past.seconds for past in history} == {(1.0,) * RUNS}


@pytest.mark.parametrize(
    "damage",
    [
        b"\x00\xff",
        b"{",
        b"{}",
        b"[]",
        b'{"target": {"profile": "x", "architecture": "y"}, "inputs": {}, "seconds": [-1]}',
    ],
)
def test_damaged_line_is_passed_over(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / HISTORY
    add_run(path, SMALL, {"a": "1"}, 2.0)
    add_run(path, OTHER, {"a": "2"}, 3.0)
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([lines[0], damage, lines[1][:-9]]))
    assert [past.target for past in read_history(path)] == [SMALL]
    add_run(path, OTHER, {"a": "3"}, 4.0)
    assert [past.seconds for past in read_history(path)] == [(2.0,), (4.0,)]


def test_infinite_duration_is_damage(tmp_path: Path) -> None:
    path = tmp_path / HISTORY
    add_run(path, SMALL, {}, 2.0)
    path.write_text(path.read_text().replace("2.0", "1e999"))
    assert read_history(path) == ()


def add_many(path: Path, profile: str) -> None:
    for number in range(20):
        add_run(path, Target(profile=profile, architecture="amd64"), {"a": str(number)}, float(number))


def test_processes_lose_nothing_of_one_another(tmp_path: Path) -> None:
    path = tmp_path / HISTORY
    processes = [SPAWN.Process(target=add_many, args=(path, name)) for name in ("one", "two", "three")]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert {past.target.profile: past.seconds for past in read_history(path)} == dict.fromkeys(
        ("one", "two", "three"), (15.0, 16.0, 17.0, 18.0, 19.0)
    )
    assert [item.name for item in tmp_path.iterdir()] == [HISTORY]


def test_history_outlives_the_component(tmp_path: Path) -> None:
    kept, component = ComponentCache(tmp_path), Component(name="part", inputs={"a": "1"})
    path = kept.provide(component, SMALL, lambda folder: None)
    took = json.loads((path / RECORD).read_text())["seconds"]
    shutil.rmtree(path)
    (past,) = kept.history("part")
    assert past == Past(target=SMALL, inputs={"a": "1"}, seconds=(took,))


def test_use_of_a_kept_component(tmp_path: Path) -> None:
    """Counts as its target's newest inputs, not as a run, and is when it was used last."""
    kept, component = ComponentCache(tmp_path), Component(name="part", inputs={"a": "1"})
    path = kept.provide(component, SMALL, lambda folder: None)
    os.utime(path, (1, 1))
    assert kept.provide(component, OTHER, lambda folder: pytest.fail("it is kept")) == path
    assert last_inputs(kept.history("part"), OTHER) == {"a": "1"}
    assert kept.history("part")[-1].seconds == ()
    assert path.stat().st_mtime > 1


def test_history_that_cannot_be_written_is_left_out(tmp_path: Path) -> None:
    kept, component = ComponentCache(tmp_path), Component(name="part", inputs={"a": "1"})
    (tmp_path / "part" / HISTORY / "in the way").mkdir(parents=True)
    kept.provide(component, SMALL, lambda folder: None)
    assert kept.has(component)
    assert kept.history("part") == ()


def test_expected_is_the_longest_chain_and_the_sum() -> None:
    def part(name: str, seconds: float | None, *needs: Component, cached: bool = False) -> Component:
        told = estimate(ran((SMALL, seconds)), SMALL)
        inputs = {item.name: item.key for item in needs}
        made_from = tuple(inputs)
        return Component(name=name, inputs=inputs, needs=made_from, cached=cached, estimate=None if cached else told)

    tools = part("tools", 50.0, cached=True)
    kernel = part("kernel", 100.0, tools)
    modules = part("modules", 10.0, tools, kernel)
    base = part("base", 60.0, tools)
    python = part("python", None, tools)
    image = part("image", 30.0, modules, base, python)
    plan = Plan(
        profile="small", architecture="amd64", lock="0" * 64, components=(tools, kernel, modules, base, python, image)
    )
    expected = plan.expected
    assert (expected.together, expected.alone, expected.unknown) == (140.0, 200.0, ("python",))
