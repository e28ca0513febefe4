"""Who runs when."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from sched_bench.order import Plan, left

PLAN = Plan(7, 40, 1.0, 8.0, ("hackbench", "notebook", "fairness"), ("eevdf", "a", "b", "c"))


def test_every_block_has_every_configuration_once_for_each_workload() -> None:
    units = list(PLAN.units())
    assert Counter((unit.block, unit.workload) for unit in units) == Counter(
        (block, workload) for block in range(40) for workload in PLAN.workloads
    )
    assert all(sorted(unit.order) == sorted(PLAN.configurations) for unit in units)


def test_order_is_the_seeds() -> None:
    assert list(PLAN.units()) == list(PLAN.units())
    assert [unit.order for unit in PLAN.units()] != [unit.order for unit in replace(PLAN, seed=8).units()]


def test_no_configuration_has_a_place_of_its_own() -> None:
    """Of 120 units each of four is first in 30, give or take what chance allows (4 standard deviations are 19)."""
    for position in range(4):
        counts = Counter(unit.order[position] for unit in PLAN.units())
        assert all(11 <= counts[name] <= 49 for name in PLAN.configurations), counts


def test_workloads_of_blocks_differ_in_order_and_seed() -> None:
    units = list(PLAN.units())
    assert len({tuple(unit.workload for unit in units if unit.block == block) for block in range(40)}) > 1
    assert len({unit.seed for unit in units}) == len(units)


def test_training_has_no_seed_of_a_block() -> None:
    assert {PLAN.training_seed(name) for name in PLAN.workloads}.isdisjoint(unit.seed for unit in PLAN.units())


def test_more_rounds_are_the_same_plan_and_anything_else_is_not() -> None:
    assert replace(PLAN, rounds=99).digest == PLAN.digest
    for other in (replace(PLAN, seed=1), replace(PLAN, scale=2.0), replace(PLAN, virtual=True)):
        assert other.digest != PLAN.digest
    assert list(PLAN.units()) == list(replace(PLAN, rounds=99).units())[: len(list(PLAN.units()))]


def test_what_is_done_is_not_done_again() -> None:
    units = list(PLAN.units())
    assert left(units, [(unit.block, unit.workload) for unit in units[:5]]) == units[5:]
