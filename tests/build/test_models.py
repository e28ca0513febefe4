"""Models in rendered trees: by reference, linked out of the store, never read into memory or changed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from builder.data.lock import Lock, LockedModel, read_lock
from builder.data.recipe import Recipe
from builder.data.rendered import tree_digest
from builder.foundation.digest import digest_bytes
from builder.foundation.errors import LichenError
from builder.foundation.store import Store
from builder.foundation.workbench import Workbench
from builder.steps.profiles import load_buildable
from builder.steps.render import MODELS, component_tree, rendered_tree, write_tree
from builder.verbs.lock import lock as make_lock
from builder.verbs.plan import image_components
from builder.verbs.render import render
from tests.build.test_rendered import resolution, shape
from tests.conftest import CLASSROOM, REPOSITORY
from tests.profiles.sample import Sample

CONTENT = b"weights" * 1000
SHA = digest_bytes(CONTENT)
PLACES = ("usr/share/models/a.onnx", "usr/share/models/b.onnx")


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    """A small project with one model at two places, and a lock that nobody resolved."""
    sample = Sample(tmp_path / "project")
    lines = "".join(
        f"  m{number}: {{source: 'file:///m', sha256: {SHA}, size: {len(CONTENT)}, target: /{place}}}\n"
        for number, place in enumerate(PLACES)
    )
    sample.add("profiles/small.yaml", f"models:\n{lines}")
    made = sample.workbench()
    real = read_lock(REPOSITORY.lock(CLASSROOM, "amd64"))
    path = sample.project.lock("small", "amd64")
    path.parent.mkdir(parents=True)
    path.write_text(real.model_copy(update={"profile": "small", "resolution": resolution(made)}).text())
    make_lock(made, "small")
    return made


@pytest.fixture
def store(bench: Workbench, tmp_path: Path) -> Store:
    """The store, with the model in it."""
    made = Store(bench.cache.store)
    (tmp_path / "model").write_bytes(CONTENT)
    made.insert(tmp_path / "model", SHA)
    return made


def both(bench: Workbench) -> tuple[Recipe, Lock]:
    return load_buildable(bench.project, "small"), read_lock(bench.project.lock("small", "amd64"))


def test_tree_knows_models_by_their_digest_alone(bench: Workbench) -> None:
    """Nothing is in the store."""
    recipe, lock = both(bench)
    tree = component_tree("image", recipe, lock)
    assert [tree[f"extra/{place}"].identity() for place in PLACES] == [["0444", SHA], ["0444", SHA]]
    assert all(tree[f"extra/{place}"].content == b"" for place in PLACES)
    assert MODELS not in tree
    other = tuple(LockedModel.model_validate({**model.model_dump(), "sha256": "ab" * 32}) for model in lock.models)
    changed = lock.model_copy(update={"models": other})
    assert tree_digest(component_tree("image", recipe, changed)) != tree_digest(tree)
    before, after = (image_components(recipe, item) for item in (lock, changed))
    assert [old.name for old, new in zip(before, after, strict=True) if old.key != new.key] == ["image"]


def test_without_models_nothing_is_different(bench: Workbench) -> None:
    recipe, lock = both(bench)
    bare = rendered_tree(recipe, lock.model_copy(update={"models": ()}))
    added = set(rendered_tree(recipe, lock)) - set(bare)
    assert added == {MODELS, *(f"extra/{place}" for place in PLACES)}


def test_written_tree(bench: Workbench, store: Store, tmp_path: Path) -> None:
    before = store.path(SHA).stat()
    write_tree(component_tree("image", *both(bench)), tmp_path / "tree", store)
    files = [tmp_path / "tree/extra" / place for place in PLACES]
    assert [file.read_bytes() for file in files] == [CONTENT, CONTENT]
    assert {file.stat().st_mode & 0o7777 for file in files} == {0o444}
    # One is the store's own file, the other must not be the same one: mkosi would keep them one in the image.
    assert [file.samefile(store.path(SHA)) for file in files] == [True, False]
    after = store.path(SHA).stat()
    assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)


def test_on_another_file_system(bench: Workbench, store: Store) -> None:
    elsewhere = Path("/dev/shm")
    if os.stat(elsewhere).st_dev == os.stat(store.root).st_dev:
        pytest.skip("/dev/shm and the test's folder are one file system here")
    folder = elsewhere / f"lichen-models-{os.getpid()}"
    try:
        write_tree(component_tree("image", *both(bench)), folder, store)
        files = [folder / "extra" / place for place in PLACES]
        assert [file.read_bytes() for file in files] == [CONTENT, CONTENT]
        assert {(file.stat().st_mode & 0o7777, file.stat().st_nlink) for file in files} == {(0o444, 1)}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_missing_and_changed_model(bench: Workbench, store: Store, tmp_path: Path) -> None:
    tree = component_tree("image", *both(bench))
    store.path(SHA).chmod(0o644)
    store.path(SHA).write_bytes(CONTENT[::-1])
    with pytest.raises(LichenError, match="a file in the store was changed"):
        write_tree(tree, tmp_path / "one", store)
    with pytest.raises(LichenError, match="a file is not in the store"):
        write_tree(tree, tmp_path / "two", store)


def test_rendered_without_packages_lists_them(bench: Workbench, tmp_path: Path) -> None:
    """As sha256sum reads it: whoever puts the models there can check them."""
    folder = render(bench, "small", destination=tmp_path / "tree")
    assert not (folder / "extra/usr/share/models").exists()
    for place in PLACES:
        (folder / "extra" / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / "extra" / place).write_bytes(CONTENT)
    done = subprocess.run(["sha256sum", "--check", MODELS], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"extra/{place}: OK" for place in PLACES]
    again = render(bench, "small", destination=tmp_path / "again")
    assert f"extra/{PLACES[0]}" not in shape(again)
