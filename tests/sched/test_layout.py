"""Layouts in Python are those of the header."""

from __future__ import annotations

from pathlib import Path

import pytest
from lichen_sched import layout, machine
from lichen_sched.layout import Control, Counter, Node, Predictor, pack_trees

from tests.sched.native import told

LEAF = Node(0, 7, 0, 0, 0, True)


def test_sizes_are_those_of_the_header(tmp_path: Path) -> None:
    sizes = {
        "sizeof(struct lichen_control)": layout.CONTROL.size,
        "sizeof(struct lichen_node)": layout.NODE.size,
        "sizeof(struct lichen_tree)": layout.NODE.size * layout.NODES,
        "sizeof(struct lichen_sample)": layout.SAMPLE.size,
        "sizeof(struct lichen_recorded)": layout.RECORDED.size,
        "sizeof(struct lichen_owner)": layout.OWNER.size,
        "sizeof(struct lichen_share)": layout.SHARE.size,
        "sizeof(struct lichen_ending)": layout.ENDING.size,
        "sizeof(struct lichen_machine)": len(machine.pack(1, {}, "")),
        "LICHEN_FRACTION": layout.FRACTION,
        "LICHEN_FEATURES": layout.FEATURES,
        "LICHEN_TREES": layout.TREES,
        "LICHEN_DEPTH": layout.DEPTH,
        "LICHEN_NODES": layout.NODES,
        "LICHEN_SLOTS": layout.SLOTS,
        "LICHEN_BUCKETS": layout.BUCKETS,
        "LICHEN_LEAST": layout.LEAST,
        "LICHEN_MOST": layout.MOST,
        "LICHEN_COUNTERS": len(Counter),
        "LICHEN_CPUS": machine.CPUS,
        "LICHEN_NUMA": machine.NUMA,
    }
    assert dict(zip(sizes, told(tmp_path, list(sizes)), strict=True)) == sizes


def test_names_have_the_numbers_of_the_header(tmp_path: Path) -> None:
    numbers = {f"LICHEN_{counter.name}": counter.value for counter in Counter}
    numbers |= {f"LICHEN_F_{name.upper()}": number for number, name in enumerate(layout.FEATURE_NAMES)}
    trees = {"TREES": "TREES_SUM"}
    numbers |= {f"LICHEN_{trees.get(predictor.name, predictor.name)}": predictor.value for predictor in Predictor}
    numbers = {name.replace("KERNEL_THREAD", "KERNEL"): number for name, number in numbers.items()}
    assert dict(zip(numbers, told(tmp_path, list(numbers)), strict=True)) == numbers


def test_fields_lie_where_the_header_has_them(tmp_path: Path) -> None:
    offsets = ("base", "sample_every", "constant_ns", "generation")
    places = told(tmp_path, [f"offsetof(struct lichen_control, {name})" for name in offsets])
    data = Control(base=(-5, 6), sample_every=7, constant_ns=8, generation=9).pack()
    found = [int.from_bytes(data[place : place + 4], "little", signed=True) for place in places]
    assert found == [-5, 7, 8, 9]


def test_control_survives_the_way_through_the_kernel() -> None:
    control = Control(Predictor.TREES, 1, (3, 32), (-7, 5000), 4, True, 1, 2, 3, 4, 5)
    assert Control.unpack(control.pack()) == control


@pytest.mark.parametrize("change", [{"slice_max_ns": -1}, {"sample_every": 1 << 32}, {"base": (1 << 31, 0)}])
def test_control_that_does_not_fit_is_refused(change: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="Control"):
        Control(**change).pack()


def test_sample_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="120 bytes, not 151"):
        layout.parse_sample(bytes(151))


def test_sample_is_parsed() -> None:
    data = layout.SAMPLE.pack(1, 2, 3, 4, 5, 6, 7, 8, -9, *range(-6, 6), b"name\0rest")
    sample = layout.parse_sample(data)
    assert (sample.time_ns, sample.uid, sample.predicted, sample.comm) == (1, 8, -9, "name")
    assert sample.features == tuple(range(-6, 6))


@pytest.mark.parametrize(
    ("trees", "why"),
    [
        ([[LEAF]] * 33, "at most 32 trees, not 33"),
        ([[]], "tree 0 has 0 nodes"),
        ([[LEAF] * 65], "tree 0 has 65 nodes"),
        ([[LEAF], [Node(0, 0, 12, 0, 0, False)]], "tree 1 has a node that leads nowhere"),
        ([[Node(0, 0, 0, 0, 1, False)]], "leads nowhere"),
        ([[Node(1 << 31, 0, 0, 0, 0, True)]], "tree 0"),
    ],
)
def test_ensembles_that_do_not_fit_are_refused(trees: list[list[Node]], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        pack_trees(trees)


def test_lists_of_processors() -> None:
    assert machine.parse_list("0-3,8\n") == [0, 1, 2, 3, 8]
    assert machine.parse_list("\n") == []


def test_nodes_are_read(tmp_path: Path) -> None:
    for node, cpus in (("node0", "0-1"), ("node3", "2"), ("node77", "3"), ("node4", "")):
        (tmp_path / node).mkdir()
        (tmp_path / node / "cpulist").write_text(cpus + "\n")
    (tmp_path / "online").write_text("0-3\n")
    assert machine.nodes(tmp_path) == {0: 0, 1: 0, 2: 3, 3: 0}


def test_machine_with_more_processors_than_the_programs_know_is_refused() -> None:
    with pytest.raises(ValueError, match="can have 1025 processors, and the programs know 1024"):
        machine.pack(1025, {}, "")
