"""The Python environment is the same, whoever builds it, where, and how. Whole images: tests/verify."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from builder.foundation.digest import digest_tree
from builder.foundation.place import Cache, Project
from builder.foundation.toolbox import Toolbox
from builder.verbs.build import provide_component
from tests.build.bench import REPOSITORY, Bench, described, make_bench
from tests.conftest import CLASSROOM


@pytest.mark.long
def test_python_environment(toolbox: Toolbox, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del toolbox  # built in this machine's cache, which lends it below
    if os.geteuid() != 0:
        pytest.skip("building needs root")
    first = python_of_the_classroom(tmp_path / "first", cache)
    monkeypatch.setattr("builder.steps.assemble.memory_available", lambda: 0)
    monkeypatch.setenv("TZ", "<+1245>-12:45")
    before = os.umask(0o077)
    try:
        second = python_of_the_classroom(tmp_path / "second, elsewhere", cache)
    finally:
        os.umask(before)
    assert digest_tree(first) == digest_tree(second)
    one, two = described(first), described(second)
    assert {name: (one.get(name), two.get(name)) for name in {*one, *two} if one.get(name) != two.get(name)} == {}


def python_of_the_classroom(root: Path, machine: Cache) -> Path:
    made = make_bench(root, Project(REPOSITORY), machine, own=("python",))
    made = Bench(made.project, made.cache, profile=CLASSROOM)
    folder = provide_component(made.workbench, CLASSROOM, "python")
    assert not made.leftovers()
    return folder / "python"
