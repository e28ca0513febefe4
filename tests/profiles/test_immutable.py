"""What the layout of an image lays down, and that nobody lays anything over it."""

from __future__ import annotations

import pytest

from builder.data.layout import LAID_DOWN, STATE
from builder.data.toolchain import initrd_packages
from builder.foundation.errors import InputError
from builder.steps.profiles import load_buildable
from builder.steps.render import component_tree, overlay_files
from tests.build.test_plan import LOCK
from tests.profiles.sample import Sample

REPART = "mkosi.repart"


@pytest.fixture
def immutable(sample: Sample) -> Sample:
    sample.swap("profiles/small.yaml", "hostname: small", "hostname: small\n  layout: immutable\n  state_size: 700M")
    return sample


def trees(sample: Sample) -> dict[str, dict[str, str]]:
    recipe = load_buildable(sample.project, "small")
    return {
        name: {path: file.content.decode() for path, file in component_tree(name, recipe, LOCK).items()}
        for name in ("image", "initrd")
    }


def test_layouts_have_partitions_of_their_own(sample: Sample) -> None:
    mutable = trees(sample)
    assert {path for path in mutable["image"] if path.startswith(REPART)} == {
        f"{REPART}/{name}.conf" for name in ("00-esp", "10-root")
    }
    assert not [path for path in mutable["initrd"] if "state" in path]


def test_immutable_layout(immutable: Sample) -> None:
    sealed = trees(immutable)
    assert {path for path in sealed["image"] if path.startswith(REPART)} == {
        f"{REPART}/{name}.conf" for name in ("00-esp", "10-root", "11-root-verity", "20-state")
    }
    assert "SizeMinBytes=700M" in sealed["image"][f"{REPART}/20-state.conf"]
    # Of the kind that is built in, and that machines look for.
    types = [
        next(line for line in text.splitlines() if line.startswith("Type="))
        for path, text in sealed["image"].items()
        if path.endswith("20-state.conf")
    ]
    assert len(types) == 2
    assert len(set(types)) == 1
    for package in {*initrd_packages("immutable")} - {*initrd_packages("mutable")}:
        assert f"    {package}\n" in sealed["initrd"]["mkosi.conf.d/initrd.conf"]


def test_overlay_lays_nothing_over_the_layout(immutable: Sample) -> None:
    mine = immutable.write("overlays/web/tree/usr/lib/lichen/factory-reset", "mine\n")
    with pytest.raises(InputError) as caught:
        load_buildable(immutable.project, "small")
    [problem] = caught.value.problems
    assert problem.what == "two files claim one place in the image"
    assert problem.where == str(mine)
    assert "/usr/lib/lichen/factory-reset" in problem.why
    assert problem.remedy


def test_nothing_lies_where_the_state_partition_is_mounted(immutable: Sample) -> None:
    mine = immutable.write("overlays/web/tree/state/note", "hidden\n")
    with pytest.raises(InputError) as caught:
        load_buildable(immutable.project, "small")
    [problem] = caught.value.problems
    assert (problem.what, problem.where) == ("two files claim one place in the image", str(mine))


def test_every_file_of_the_layout_is_claimed(immutable: Sample) -> None:
    recipe = load_buildable(immutable.project, "small")
    own = {path.removeprefix("extra/") for path in trees(immutable)["image"] if path.startswith("extra/")}
    assert own - set(overlay_files(recipe)) == set(LAID_DOWN["immutable"]) - {STATE}
