"""mkosi fails, there is no room, the store was changed: one clear error, nothing half-written, and on it goes."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from builder.data.lock import Deb, Lock
from builder.data.recipe import Recipe
from builder.data.rendered import RenderedFile, Tree
from builder.foundation.errors import LichenError, Problem
from builder.foundation.place import Cache, Project
from builder.foundation.store import Store
from builder.foundation.workbench import Workbench
from builder.steps.render import component_tree
from builder.verbs.build import build
from tests.build.bench import Bench, make_bench, swap
from tests.build.conftest import Built, MakeBench

BROKEN = b"#!/bin/sh\necho the screw is loose\nexit 1\n"
Disk = Callable[[str], Path]


def problem_of(made: Bench) -> Problem:
    """What a build says when it fails; checks that it leaves nothing but its log."""
    before = {path.name for path in made.project.images.glob("*")}
    with pytest.raises(LichenError) as caught:
        build(made.workbench, "small")
    assert made.leftovers() == []
    assert {path.name for path in made.project.images.glob("*")} - before <= {made.log.name}
    (problem,) = caught.value.problems
    return problem


def test_clock_behind_the_lock(bench: MakeBench) -> None:
    """Time stamps are clamped to the lock's date on one side only: such a build would give other bytes."""
    made = bench()
    late = replace(made.workbench, clock=lambda: datetime(2020, 1, 1, tzinfo=UTC))
    with pytest.raises(LichenError) as caught:
        build(late, "small")
    (problem,) = caught.value.problems
    assert problem.what == "this machine's clock is behind the lock"
    assert problem.why.startswith("it says 2020-01-01T00:00:00Z, the lock's indices are of 20")
    assert not made.image.exists()
    assert made.leftovers() == []


def test_mkosi_fails(bench: MakeBench, built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str, recipe: Recipe, lock: Lock) -> Tree:
        return {**component_tree(name, recipe, lock), "image.finalize": RenderedFile(BROKEN, 0o755)}

    made = bench()
    earlier = made.project.images / "small_amd64_000000000000" / "image.raw"
    earlier.parent.mkdir(parents=True)
    earlier.write_text("whole")
    with monkeypatch.context() as patch:
        patch.setattr("builder.verbs.assembly.component_tree", broken)
        problem = problem_of(made)
    assert problem.what == "mkosi failed to build image"
    assert problem.where == str(made.log)
    assert "the screw is loose" in problem.why
    assert "the screw is loose" in made.log.read_text()
    assert earlier.read_text() == "whole"
    assert build(made.workbench, "small").rebuilt
    assert not made.log.exists()
    assert (made.image / "SHA256SUMS").read_text() == built.sums
    assert earlier.read_text() == "whole"


def test_root_is_too_small(bench: MakeBench) -> None:
    made = bench()
    swap(made.project.profiles / "small.yaml", "root_size: 1536M", "root_size: 64M")
    made.relock()
    problem = problem_of(made)
    assert problem.what == "no room in the image's root file system"
    assert problem.where == "image.root_size"
    assert "Could not allocate block" in problem.why
    assert str(made.log) in problem.remedy
    swap(made.project.profiles / "small.yaml", "root_size: 64M", "root_size: 640M")
    made.relock()
    assert build(made.workbench, "small").rebuilt


@pytest.fixture
def disk(tmp_path: Path, built: Built) -> Iterator[Disk]:
    """Mounts small disks."""
    del built  # skips when we are not root
    mounted: list[Path] = []

    def make(size: str) -> Path:
        folder = tmp_path / f"disk-{size}"
        folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        done = subprocess.run(mount, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield make
    for folder in mounted:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize(
    ("size", "own", "what"),
    [
        ("256k", "initrd", "the disk is full"),
        ("20m", "initrd", "the disk is full"),
        ("48m", "initrd", "no room left while building initrd"),
        pytest.param("100m", "", "no room left while building image", marks=pytest.mark.long),
    ],
)
def test_full_cache(disk: Disk, bench: MakeBench, tmp_path: Path, size: str, own: str, what: str) -> None:
    """While packages are laid out, while they are, while mkosi brings out the initrd, the image."""
    small = disk(size)
    made = bench(own, root=tmp_path)
    cache = Cache(small / "cache")
    shutil.copytree(made.cache.root, cache.root, symlinks=True)
    made = Bench(made.project, cache)
    problem = problem_of(made)
    assert problem.what == what
    assert problem.where.startswith(str(small))
    assert "lichen clean" in problem.remedy
    # Somebody made room.
    subprocess.run(["mount", "-o", "remount,size=2g", small], check=True)
    if not own:
        assert build(made.workbench, "small").rebuilt


def test_full_disk_for_images(disk: Disk, bench: MakeBench, built: Built) -> None:
    small = disk("120m")
    made = bench()
    made.project.images.symlink_to(small)
    problem = problem_of(made)
    assert (problem.what, problem.remedy.partition(":")[0]) == ("the disk is full", "free some room")
    assert problem.where.startswith(str(made.project.images))
    assert "Generating disk image" in made.log.read_text()
    subprocess.run(["mount", "-o", "remount,size=2g", small], check=True)
    assert build(made.workbench, "small").rebuilt
    assert (made.image / "SHA256SUMS").read_text() == built.sums


def test_images_folder_cannot_be_written(bench: MakeBench) -> None:
    made = bench()
    made.project.images.write_text("a file")
    with pytest.raises(LichenError) as caught:
        build(made.workbench, "small")
    assert caught.value.problems[0].what == "cannot write"
    assert caught.value.problems[0].where == str(made.project.images)


def test_neither_memory_nor_disk(disk: Disk, bench: MakeBench, monkeypatch: pytest.MonkeyPatch) -> None:
    # With a disk large enough the workspace lies there: test_reproducible.py builds so.
    made = bench("initrd")
    made.cache.workspace.symlink_to(disk("200m"))
    monkeypatch.setattr("builder.steps.assemble.memory_available", lambda: 100 << 20)
    problem = problem_of(made)
    assert problem.what == "no room for the workspace"
    assert "initrd may take" in problem.why
    assert "100 MiB of memory are available" in problem.why
    assert "MiB of disk" in problem.why
    assert "lichen clean" in problem.remedy


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    return tmp_path / "mirror"


def own_store(made: Bench, machine: Store) -> tuple[Store, list[Deb]]:
    """A store of copies, so that it can be damaged, of the initrd's packages; and these packages."""
    made.cache.store.unlink()
    store = Store(made.cache.store)
    debs = [deb for deb in made.lock.used_by("initrd") if deb.archive == "debian"]
    for deb in made.lock.used_by("initrd"):
        store.path(deb.sha256).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(machine.path(deb.sha256), store.path(deb.sha256))
    return store, debs


@pytest.mark.long
def test_changed_files_in_the_store(bench: MakeBench, built: Built, cache: Cache, mirror: Path) -> None:
    made = bench("initrd")
    store, (first, second, *_) = own_store(made, Store(cache.store))
    for deb in (first, second):
        (mirror / deb.path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(Store(cache.store).path(deb.sha256), mirror / deb.path)
        store.path(deb.sha256).unlink()
    store.path(first.sha256).write_bytes(b"short")
    store.path(second.sha256).write_bytes(bytes(second.size))
    workbench = Workbench(made.project, made.cache, mirrors=(f"debian={mirror.as_uri()}",))
    # The one whose size is wrong is fetched anew; that the other's bytes are wrong shows when it is to be used.
    with pytest.raises(LichenError) as caught:
        build(workbench, "small")
    (problem,) = caught.value.problems
    assert problem.what == "a file in the store was changed"
    assert problem.where == str(store.path(second.sha256))
    assert "run the command again" in problem.remedy
    assert store.verified(first.sha256, first.size)
    assert not store.has(second.sha256, second.size)
    assert made.leftovers() == []
    assert not made.log.exists()
    assert not made.kept("initrd").exists()
    assert build(workbench, "small").rebuilt
    assert (made.image / "SHA256SUMS").read_text() == built.sums


def test_building_needs_root(bench: MakeBench, monkeypatch: pytest.MonkeyPatch) -> None:
    made = bench()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert problem_of(made).what == "building needs root"


def test_project_is_copied(built: Built, cache: Cache, tmp_path: Path) -> None:
    """The benches of these tests are equal to what they are copied from: their images have the same name."""
    made = make_bench(tmp_path, Project(built.project.root), cache, ())
    assert made.image.name == built.image.folder.name
