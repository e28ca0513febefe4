"""The same lock gives the same bytes, whoever builds it, where, and how."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from builder.foundation.digest import digest_tree
from builder.foundation.place import Cache, Project
from builder.foundation.store import Store
from builder.foundation.toolbox import Toolbox
from builder.verbs import build as verb
from tests.build.bench import REPOSITORY, Bench, described, make_bench
from tests.build.conftest import Built
from tests.conftest import CLASSROOM

# Another person's machine: one processor, no memory for a workspace, everything elsewhere.
ELSEWHERE = """
import os, sys
from pathlib import Path
from builder.foundation.place import Cache, Project
from builder.foundation.workbench import Workbench
from builder.steps import assemble
from builder.verbs.build import build
from tests.build.bench import Notes

os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
assemble.memory_available = lambda: 0
told = Notes()
build(Workbench(Project(Path(sys.argv[1])), Cache(Path(sys.argv[2])), progress=told), "small")
print("\\n".join(told.notes))
"""


def test_small_image(built: Built, cache: Cache, tmp_path: Path) -> None:
    """Built with all components of its own, tools tree included; only the downloads are shared."""
    root = tmp_path / "a much longer place" / "with spaces"
    made = make_bench(root, built.project, cache, own=("mkosi", "tools", "base", "initrd"))
    working = tmp_path / "somewhere"
    working.mkdir()
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "TZ": "Pacific/Chatham",
        "LANG": "tr_TR.UTF-8",
        "LC_ALL": "tr_TR.UTF-8",
        "SOURCE_DATE_EPOCH": "1",
        "HOME": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, made.project.root, made.cache.root],
        cwd=working,
        env=environment,
        umask=0o077,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert "workspace on disk, slower than memory: image may take" in done.stdout
    initrd = "initrd.cpio.zst"
    assert (made.kept("initrd") / initrd).read_bytes() == (
        Bench(built.project, cache).kept("initrd") / initrd
    ).read_bytes()
    assert (made.image / "SHA256SUMS").read_text() == built.sums
    # Nor did either build change what it was made from.
    store = Store(cache.store)
    for deb in made.lock.debs:
        assert store.verified(deb.sha256, deb.size)


def test_python_environment(toolbox: Toolbox, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del toolbox  # built in this machine's cache, which lends it below
    if os.geteuid() != 0:
        pytest.skip("building needs root")
    first = python_of_the_classroom(tmp_path / "first", cache)
    monkeypatch.setattr("builder.steps.assemble.memory_available", lambda: 0)
    monkeypatch.setenv("TZ", "Pacific/Chatham")
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
    with verb._under_way(made.workbench, made.recipe, made.lock) as work:
        box = work.toolbox()
        work._fetch(work._files("python"))
        folder = work._provide("python", lambda folder: work._part("python", folder, box))
    assert not made.leftovers()
    return folder / "python"
