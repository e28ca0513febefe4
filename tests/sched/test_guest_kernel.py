"""What the guest runs can be imported, its trees are the kernel's kind, and every check of it has a test."""

from __future__ import annotations

import ast
import importlib
import random
from types import ModuleType

import pytest
from lichen_sched.layout import FEATURES, TREES, clamp, pack_trees

from tests.sched.making import OVERLAY
from tests.sched.reference import evaluate


@pytest.fixture
def guest_kernel(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(OVERLAY / "tests"))
    return importlib.import_module("guest_kernel")


def test_every_check_is_one_of_the_overlays_tests(guest_kernel: ModuleType) -> None:
    """test_kernel.py names them by itself: where it runs, the scheduler's Python is not there."""
    body = ast.parse((OVERLAY / "tests/test_kernel.py").read_text()).body
    values = {node.targets[0].id: node.value for node in body if isinstance(node, ast.Assign)}  # type: ignore[attr-defined]
    named = {
        word.value
        for name in ("OBSERVING", "CHECKS")
        for word in ast.walk(values[name])
        if isinstance(word, ast.Constant)
    }
    assert named == {check.__name__ for check in guest_kernel.CHECKS}


@pytest.mark.parametrize("size", [1, 7, TREES])
def test_trees_of_the_guest_ask_and_answer(guest_kernel: ModuleType, size: int) -> None:
    chance = random.Random(1)
    ensemble = guest_kernel.grown(chance, size)
    assert len(pack_trees(ensemble.trees())) == size
    sample = guest_kernel.Sample(**dict.fromkeys(guest_kernel.Sample._fields, 2))
    found = set()
    for _ in range(50):
        features = tuple(chance.randint(3000, 7000) for _ in range(FEATURES))
        wanted = evaluate(ensemble.trees(), ensemble.base, features)
        assert guest_kernel.predicted(ensemble, 0, sample._replace(features=features)) == wanted
        found.add(wanted)
    assert len(found) > 1
    first = sample._replace(sequence=1, features=(0,) * FEATURES)
    assert guest_kernel.predicted(ensemble, clamp(5555), first) == 5555
