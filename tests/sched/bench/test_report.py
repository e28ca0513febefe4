"""Audit, charts and report of runs that are made up, so that the answers are known."""

from __future__ import annotations

import json
import math
import random
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from sched_bench import charts
from sched_bench.analysis import DIFFERENT, Comparison, Interval, compare
from sched_bench.audit import conclusion, predictions, treatments, weighted_shares
from sched_bench.journal import read
from sched_bench.measures import MEASURES
from sched_bench.report import RAW, TOLD, report, write

from tests.conftest import REPOSITORY

RESULTS = REPOSITORY.overlays / "scheduler-agent/bench/results"

BLOCKS = 6


def fairness(block: int, configuration: str, bursty: float, steady: float) -> dict[str, Any]:
    """The fairness workload's run: two users of weight 100 and a cgroup of weight 200."""
    rows = [("bursty", 100, bursty, 11), ("steady", 100, steady, 12), ("weight-200", 200, 2000.0, 13)]
    owners = [{"owner": name, "weight": weight, "ran_us": ran, "cgroup": number} for name, weight, ran, number in rows]
    share = {"uid": 0, "path": "", "weight": 100, "ran_ns": 1, "longest_ns": 9}
    seen = {"waited_ns": 50_000_000, "bursts": 10, "error": 5120, "bias": -2560}
    run: dict[str, Any] = {"kind": "run", "block": block, "workload": "fairness", "configuration": configuration}
    run |= {"values": {"throughput": 10.0 + block}, "detail": {"owners": owners}}
    if configuration.startswith("lichen"):
        run["driver"] = {"seconds": 10.0, "cpu_seconds": 0.1, "counters": {"switches": 100, "kicks": 5, "lost": 0}}
        # One of the owners, one of the workload's own, the probe and a service of the machine.
        places = ((11, ""), (98, "/lichen-bench/work"), (99, "/lichen-bench/probe"), (100, "/system.slice/x.service"))
        run["driver"]["shares"] = [{**share, **seen, "cgroup": number, "path": path} for number, path in places]
    return run


def made(bursty: float) -> list[dict[str, Any]]:
    """Under trees ``bursty`` gets so much, the others what their weights say."""
    runs = [fairness(block, "eevdf", 1000.0, 1000.0 + block) for block in range(BLOCKS)]
    return runs + [fairness(block, "lichen-trees", bursty + block, 1000.0) for block in range(BLOCKS)]


def test_share_is_by_weight() -> None:
    assert weighted_shares(fairness(0, "eevdf", 1000.0, 1000.0)) == pytest.approx(
        {"bursty": 1, "steady": 1, "weight-200": 1}
    )
    assert weighted_shares({"detail": {}}) == {}
    assert weighted_shares(fairness(0, "eevdf", 0.0, 0.0) | {"detail": {"owners": []}}) == {}


def test_audit_finds_who_gets_more_beyond_weight() -> None:
    found = treatments(made(2000.0))
    (bursty,) = [each for each in found if (each.owner, each.configuration) == ("bursty", "lichen-trees")]
    assert bursty.share == pytest.approx(2000 / (4000 / 3), rel=0.01)
    assert bursty.against
    assert bursty.against.low
    assert bursty.against.low > 1.4
    assert "bursty gets 1.50 of what it gets under eevdf" in conclusion(found, "lichen-trees")


def test_audit_finds_nothing_where_nothing_is() -> None:
    runs = [fairness(block, name, 1000.0, 1000.0) for block in range(BLOCKS) for name in ("eevdf", "lichen-trees")]
    assert conclusion(treatments(runs), "lichen-trees") == "nobody is seen to be treated otherwise"


def test_audit_of_one_block_says_that_it_cannot_say() -> None:
    runs = [fairness(0, "eevdf", 1000.0, 1000.0), fairness(0, "lichen-trees", 3000.0, 1000.0)]
    assert conclusion(treatments(runs), "lichen-trees").startswith("cannot be said for bursty, steady, weight-200")


def test_wait_and_bias_are_the_owners_own() -> None:
    found = {(each.configuration, each.owner): each for each in treatments(made(1000.0))}
    bursty, steady = found["lichen-trees", "bursty"], found["lichen-trees", "steady"]
    assert (bursty.wait_ms, bursty.bias, bursty.bursts) == (5.0, -1.0, 10 * BLOCKS)
    assert (steady.wait_ms, steady.bias, steady.bursts) == (None, None, 0)


def test_predictions_are_of_the_workload() -> None:
    (found,) = predictions(made(1000.0))
    assert (found.workload, found.configuration, found.bursts) == ("fairness", "lichen-trees", 20 * BLOCKS)
    assert (found.error, found.bias) == (2.0, -1.0)


def texts(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg)
    return [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]


def test_chart_of_ratios_has_every_row_in_its_place() -> None:
    rows = [
        Comparison("hackbench", "lichen-ewma", "throughput", 1.0, Interval(2.0, 1.5, 2.5, 5), "better", 0),
        Comparison("a<b&c", "lichen-last", "throughput", 1.0, Interval(0.5, None, None, 1), "one pair", 0),
        Comparison("none", "lichen-last", "throughput", 1.0, None, "no pairs", 3),
    ]
    svg = charts.ratios("work & more", rows)
    said = texts(svg)
    assert "work & more" in said
    assert "hackbench  lichen-ewma" in said
    assert "a<b&c  lichen-last" in said
    assert not any("none" in each for each in said)
    places = [
        float(dot.get("cx", "")) for dot in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}circle")
    ]
    assert places[0] > places[1]


def test_interval_of_two_pairs_does_not_squeeze_the_chart() -> None:
    rows = [
        Comparison("hackbench", "lichen-ewma", "throughput", 1.0, Interval(2.0, 1e-9, 1e9, 2), "undecided", 0),
        Comparison("hackbench", "lichen-last", "throughput", 1.0, Interval(0.5, 0.4, 0.6, 5), "worse", 0),
    ]
    root = ElementTree.fromstring(charts.ratios("work", rows))
    places = [float(dot.get("cx", "")) for dot in root.iter("{http://www.w3.org/2000/svg}circle")]
    assert places[0] - places[1] > 100
    ends = [float(line.get(end, "")) for line in root.iter("{http://www.w3.org/2000/svg}line") for end in ("x1", "x2")]
    assert min(ends) >= charts.LEFT
    assert max(ends) <= charts.WIDTH - charts.RIGHT


def test_chart_of_nothing_is_a_chart() -> None:
    assert texts(charts.ratios("empty", []))[0] == "empty"
    assert "empty" in texts(charts.quantiles("empty", "us", {}))


def test_chart_of_quantiles_rises() -> None:
    svg = charts.quantiles("latency", "us", {"eevdf": [(0.5, 10.0), (0.99, 1000.0)]})
    (line,) = ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}polyline")
    (x1, y1), (x2, y2) = (map(float, point.split(",")) for point in line.get("points", "").split())
    assert x1 < x2
    assert y1 > y2


def records(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    ends = [{"kind": "unit", "block": block, "workload": "fairness"} for block in range(BLOCKS)]
    machine = {"kind": "machine", "workloads": {"training": "no torch"}, "configurations": {}}
    model = {"kind": "model", "samples": 900, "cpu_seconds": 21.5, "tried": {"errors": {"trees": 1.25, "ewma": 1.5}}}
    return [{"kind": "plan", "seed": 5}, machine, model, *runs, *ends]


def test_report_says_what_was_measured_and_what_was_not() -> None:
    runs = made(2000.0)
    runs[-1] = {**runs[-1], "fault": "the scheduler was not in force to the end: runnable task stall"}
    text = report(records(runs), {"kernel": "7.3"})
    assert "seed 5, 6 blocks, 12 runs" in text
    assert "training: no torch" in text
    assert "runnable task stall (1 runs)" in text
    assert "| fairness | lichen-trees | 12.5 | 12 | 1.000 (1.000 to 1.000) | 5 (without 1) | same |" in text
    assert "trees 1.250, ewma 1.500" in text
    assert "bursty gets 1.50" in text
    assert "Learning from 900 bursts took 21.5 s" in text
    assert "| lichen-trees | 1.00% | 10 |" in text


def test_report_says_how_much_of_it_chance_would_make() -> None:
    """Nothing but noise: one verdict in twenty, and the report counts those that there are."""
    chance = random.Random(3)
    names = [name for name, measure in MEASURES.items() if measure.reference == "eevdf"]
    runs = [
        {
            **{"kind": "run", "block": block, "workload": f"w{work}", "configuration": configuration},
            "values": {name: math.exp(chance.gauss(0, 0.5)) for name in names},
        }
        for work in range(100)
        for block in range(2)
        for configuration in ("eevdf", "lichen-ewma")
    ]
    judged = len(compare(runs))
    different = sum(each.verdict in DIFFERENT for each in compare(runs))
    said = f"Of {judged} comparisons up to about {round(judged / 20)} would have a verdict"
    ends = [{"kind": "unit", "block": block, "workload": f"w{work}"} for block in range(2) for work in range(100)]
    text = report([{"kind": "plan", "seed": 5}, *runs, *ends], {})
    assert said in text
    assert f"; {different} have one." in text
    assert different == pytest.approx(judged / 20, rel=0.25)


def test_published_report_is_what_its_raw_results_say(tmp_path: Path) -> None:
    """After a change of the analysis: ``python3 -m sched_bench.report results`` in the overlay's folder bench."""
    written = write(tmp_path, read(RESULTS / RAW), json.loads((RESULTS / TOLD).read_text()))
    assert {path.name for path in written} | {RAW, TOLD} == {path.name for path in RESULTS.iterdir()}
    stale = [path.name for path in written if path.read_text() != (RESULTS / path.name).read_text()]
    assert stale == []


def test_report_of_no_runs_is_a_report() -> None:
    assert "0 blocks, 0 runs" in report([{"kind": "plan", "seed": 5}], {})


def test_everything_is_written(tmp_path: Path) -> None:
    runs = made(1000.0)
    for run in runs:
        run["probe"] = {"counts": {"100": 5, "200": 1}}
    names = {path.name for path in write(tmp_path, records(runs), {})}
    assert names == {"report.md", "ratio-throughput.svg", "latency-fairness.svg"}
    assert all((tmp_path / name).stat().st_size for name in names)
    assert len(compare(runs)) == 1
