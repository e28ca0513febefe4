"""The rendered tree: the same again, as its golden copy says, accepted by plain mkosi; nothing foreign is replaced."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from builder.data.lock import read_lock
from builder.data.rendered import Tree
from builder.foundation.errors import InputError, LichenError
from builder.foundation.place import Cache
from builder.foundation.toolbox import Toolbox
from builder.foundation.workbench import Workbench
from builder.steps.profiles import load_buildable
from builder.steps.render import PYTHON_PREFIX, rendered_tree, write_tree
from builder.verbs.lock import lock
from builder.verbs.render import render
from tests.build.bench import described
from tests.conftest import CLASSROOM, REPOSITORY
from tests.profiles.sample import Sample

GOLDEN = REPOSITORY.root / "tests" / "golden" / CLASSROOM
KERNEL = ("kernel-config", "kernel", "modules")
LISTING = "extra.txt"  # of overlay files the digest is enough: their contents are in the repository already


@pytest.fixture(scope="session")
def tree() -> Tree:
    """Of the real profile and its lock, which need not be current."""
    recipe = load_buildable(REPOSITORY, CLASSROOM)
    return rendered_tree(recipe, read_lock(REPOSITORY.lock(CLASSROOM, "amd64")))


@pytest.fixture
def project(sample: Sample) -> Workbench:
    """A small project with a lock that nobody resolved: rendering looks at no package."""
    real = read_lock(REPOSITORY.lock(CLASSROOM, "amd64"))
    bench = sample.workbench()
    made = real.model_copy(update={"profile": "small", "resolution": resolution(bench)})
    path = sample.project.lock("small", "amd64")
    path.parent.mkdir(parents=True)
    path.write_text(made.text())
    lock(bench, "small")  # stamps it, without network
    return bench


def resolution(bench: Workbench) -> str:
    from builder.verbs.lock import _resolution

    return _resolution(load_buildable(bench.project, "small"), "amd64")


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    return Sample(tmp_path / "project")


def golden_files(tree: Tree) -> dict[str, str]:
    """The tree's own files in full, one listing of those that overlays bring and of programs, which nothing renders."""
    extra = {
        name: file for name, file in tree.items() if name.startswith(("extra/", "bpf/programs/")) or name.endswith(".c")
    }
    files = {name: file.content.decode() for name, file in tree.items() if name not in extra}
    files[LISTING] = "".join(f"{name} {' '.join(file.identity())}\n" for name, file in sorted(extra.items()))
    return files


def test_golden(tree: Tree) -> None:
    expected = golden_files(tree)
    if os.environ.get("LICHEN_REFRESH_GOLDEN"):
        shutil.rmtree(GOLDEN, ignore_errors=True)
        for name, text in expected.items():
            (GOLDEN / name).parent.mkdir(parents=True, exist_ok=True)
            (GOLDEN / name).write_text(text)
    found = {str(path.relative_to(GOLDEN)): path.read_text() for path in GOLDEN.rglob("*") if path.is_file()}
    assert found == expected, "the rendered tree changed: run ci/golden and review the diff"


def test_scripts_can_be_run(tree: Tree) -> None:
    modes = {name: file.mode for name, file in tree.items() if name.endswith(".finalize")}
    kernel = [f"kernel/mkosi.images/{name}/{name}.finalize" for name in KERNEL]
    parts = [f"mkosi.images/{name}/{name}.finalize" for name in ("base", "python")]
    names = ("image.finalize", "inventory.finalize", "bpf/bpf.finalize", *parts, *kernel)
    assert modes == dict.fromkeys(names, 0o755)


def test_plain_mkosi_accepts_it(tree: Tree, toolbox: Toolbox, tmp_path: Path) -> None:
    folder = tmp_path / "tree"
    write_tree(tree, folder)
    # Where `mkosi -C tools` would have put it.
    (folder / "tools" / "mkosi.output").mkdir()
    (folder / "tools" / "mkosi.output" / "tools").symlink_to(toolbox.tree)
    # And `mkosi -C kernel`, `mkosi -C bpf`.
    (folder / "kernel/mkosi.output/modules/image").mkdir(parents=True)
    (folder / "bpf/mkosi.output/bpf").mkdir(parents=True)
    images = {item["Image"]: item for item in summary(folder, toolbox)}
    assert list(images) == ["base", "initrd", "python", "main"]
    main, output = images["main"], str(folder / "mkosi.output")
    assert main["Dependencies"] == ["base", "initrd", "python"]
    assert main["BaseTrees"] == [f"{output}/base"]
    trees = [f"{output}/python", f"{folder}/bpf/mkosi.output/bpf", f"{folder}/extra"]
    assert [item["Source"] for item in main["ExtraTrees"]] == trees
    assert main["Initrds"] == [f"{output}/initrd.cpio.zst"]
    assert "hash_seed=" in main["Environment"]["SYSTEMD_REPART_MKFS_OPTIONS_EXT4"]
    assert [item["Format"] for item in images.values()] == ["directory", "cpio", "directory", "disk"]
    epochs = {item["SourceDateEpoch"] for item in images.values()}
    assert epochs == {read_lock(REPOSITORY.lock(CLASSROOM, "amd64")).source_date_epoch}
    for item in images.values():
        assert item["OutputDirectory"] == output
        assert item["LocalMirror"] == f"file://{folder}/packages"
        assert item["WithNetwork"] is False
        assert item["Release"] == "trixie"
    (tools,) = summary(folder / "tools", toolbox)
    assert (tools["Output"], tools["Format"]) == ("tools", "directory")
    assert tools["LocalMirror"] == f"file://{folder}/tools/packages"
    (programs,) = summary(folder / "bpf-toolchain", toolbox)
    assert (programs["Output"], programs["Format"]) == ("bpf-toolchain", "directory")
    (folder / "bpf-toolchain/mkosi.output/bpf-toolchain").mkdir(parents=True)
    (programs,) = summary(folder / "bpf", toolbox)
    kept = {"Source": f"{folder}/kernel/mkosi.output", "Target": "mkosi.output"}
    assert kept in programs["BuildSources"]
    (toolchain,) = summary(folder / "toolchain", toolbox)
    assert (toolchain["Output"], toolchain["Format"]) == ("toolchain", "directory")
    (folder / "toolchain/mkosi.output/toolchain").mkdir(parents=True)
    kernel = {item["Image"]: item for item in summary(folder / "kernel", toolbox)}
    assert list(kernel) == [*KERNEL, "main"]
    assert [item["Dependencies"] for item in kernel.values()][-1] == ["modules"]
    assert kernel["main"]["Format"] == "none"
    for item in kernel.values():
        assert item["LocalMirror"] == f"file://{folder}/kernel/packages"
        assert item["OutputDirectory"] == str(folder / "kernel/mkosi.output")
    assert PYTHON_PREFIX in tree["mkosi.images/python/python.finalize"].content.decode()


def summary(folder: Path, toolbox: Toolbox) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "mkosi", "--directory", folder, "--json", "summary"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(toolbox.mkosi), "HOME": str(folder.parent)},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    found: list[dict[str, Any]] = json.loads(done.stdout)["Images"]
    return found


def test_twice_the_same(project: Workbench, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        first = render(project, "small", destination=tmp_path / "first")
    finally:
        os.umask(before)
    second = render(project, "small", destination=tmp_path / "deep" / "second")
    assert shape(first) == shape(second)
    # An earlier tree is replaced as a whole.
    (second / "extra" / "left").write_text("over")
    assert render(project, "small", destination=second) == second
    assert shape(first) == shape(second)
    assert [path.name for path in second.parent.iterdir()] == ["second"]


def shape(folder: Path) -> dict[str, tuple[object, object]]:
    """Modes and contents; times do not matter."""
    return {name: (values[0], values[-1]) for name, values in described(folder).items()}


@pytest.mark.parametrize("content", ["README", "mkosi.conf"])
def test_foreign_folder_is_refused(project: Workbench, tmp_path: Path, content: str) -> None:
    """Also somebody's own mkosi configuration."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / content).write_text("[Distribution]\nDistribution=debian\n")
    with pytest.raises(InputError) as caught:
        render(project, "small", destination=folder)
    assert caught.value.problems[0].what == "will not overwrite what is there"
    assert caught.value.problems[0].where == str(folder)
    assert [path.name for path in tmp_path.iterdir() if path.name != "project"] == ["mine"]
    assert [path.name for path in folder.iterdir()] == [content]


def test_file_is_refused(project: Workbench, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("text")
    with pytest.raises(InputError, match="it is not a folder"):
        render(project, "small", destination=tmp_path / "mine")


def test_empty_folder_is_used(project: Workbench, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert (render(project, "small", destination=tmp_path / "empty") / "mkosi.conf").is_file()


def test_nothing_is_left_when_it_fails(project: Workbench, tmp_path: Path) -> None:
    """The packages of this lock cannot be had."""
    bench = Workbench(project.project, Cache(tmp_path / "cache"), mirrors=("debian=file:///nowhere",))
    folder = render(bench, "small", destination=tmp_path / "out" / "tree")
    before = shape(folder)
    with pytest.raises(LichenError):
        render(bench, "small", destination=folder, packages=True)
    assert shape(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == ["tree"]
