"""Sizes by owner, the budget and large files that are there twice: pure, from a list of files."""

from __future__ import annotations

import pytest

from builder.data.contents import FileEntry
from builder.data.duplicates import Duplicate, duplicates
from builder.data.recipe import Recipe
from builder.foundation.errors import LichenError, Problem
from builder.foundation.progress import Quiet
from builder.steps.profiles import load_buildable
from builder.steps.sizes import by_owner, require_budget, weigh
from tests.diff.desk import file, link
from tests.profiles.conftest import sample
from tests.profiles.sample import Sample

__all__ = ["sample"]

MIB = 1 << 20
CUDA = "/usr/lib/x86_64-linux-gnu/libcudart.so.12.4.127"
WHEEL = "/opt/ai/lib/python3.13/site-packages/nvidia/cuda_runtime/lib/libcudart.so.12"


def over(entries: list[FileEntry], budget: int) -> Problem:
    with pytest.raises(LichenError) as caught:
        require_budget(entries, budget, "profiles/small.yaml:7")
    (problem,) = caught.value.problems
    assert caught.value.exit_code == 1
    return problem


def test_only_contents_of_files_count() -> None:
    folder = FileEntry(path="/f", kind="folder", mode=0o755, uid=0, gid=0, owner="deb:a")
    entries = [file("/1", 3, "deb:a"), file("/2", 5, "wheel:b"), file("/3", 4, "deb:a"), link("/4", "/1"), folder]
    assert list(by_owner(entries).items()) == [("deb:a", 7), ("wheel:b", 5)]


def test_within_budget() -> None:
    require_budget([file("/1", 3 * MIB)], 3 * MIB, "")
    require_budget([], 1, "")


def test_over_budget_by_one_byte() -> None:
    problem = over([file("/1", 3 * MIB + 1, "deb:a")], 3 * MIB)
    assert problem.what == "the image is over its size budget"
    assert problem.where == "profiles/small.yaml:7"
    assert problem.why.splitlines() == [
        "its files take 4 MiB, 1 MiB more than 3 MiB; the largest:",
        "     4 MiB  deb:a",
    ]
    assert "image.size_budget" in problem.remedy
    assert "lichen lock" in problem.remedy


def test_the_ten_largest_owners_are_named_and_the_rest_added_up() -> None:
    entries = [file(f"/{number}", number * MIB, f"deb:p{number:02}") for number in range(1, 13)]
    entries += [file("/m", 100 * MIB, "model:digits"), file("/n", 100 * MIB, "model:digits")]
    first, *lines = over(entries, 200 * MIB).why.splitlines()
    assert first == "its files take 278 MiB, 78 MiB more than 200 MiB; the largest:"
    assert [line.split() for line in lines] == [
        ["200", "MiB", "model:digits"],
        *([str(number), "MiB", f"deb:p{number:02}"] for number in range(12, 3, -1)),
        ["6", "MiB", "3", "others"],
    ]


def test_same_bytes_from_two_owners() -> None:
    entries = [
        file("/usr/lib/x.bin", 2 * MIB, "deb:x", content="x"),
        file("/opt/x.bin", 2 * MIB, "wheel:x", content="x"),
        file("/srv/x.bin", 2 * MIB, "wheel:x", content="x"),
        file("/usr/lib/own.bin", 9 * MIB, "deb:x", content="own"),
        file("/usr/lib/own2.bin", 9 * MIB, "deb:x", content="own"),
        file("/small", MIB - 1, "deb:x", content="s"),
        file("/small2", MIB - 1, "deb:y", content="s"),
        link("/link", "/usr/lib/x.bin"),
        file("/boot/vmlinuz", 9 * MIB, "deb:linux-image-6.1", content="kernel"),
        file("/usr/lib/modules/6.1/vmlinuz", 9 * MIB, "build", content="kernel"),
    ]
    paths = ("/opt/x.bin", "/srv/x.bin", "/usr/lib/x.bin")
    found = Duplicate(name="x.bin", identical=True, owners=("deb:x", "wheel:x"), paths=paths, saved=4 * MIB)
    assert duplicates(entries) == (found,)
    assert duplicates(entries, minimum=2 * MIB) == (found,)
    assert duplicates(entries, minimum=2 * MIB + 1) == ()
    assert [item.name for item in duplicates(entries, minimum=1)] == ["x.bin", "small"]


def test_one_library_in_a_package_and_a_wheel() -> None:
    entries = [
        file(CUDA, 3 * MIB, "deb:libcudart12"),
        file(WHEEL, 2 * MIB, "wheel:nvidia-cuda-runtime"),
        file("/usr/lib/libcudart.so.11.0", 3 * MIB, "deb:libcudart11"),
        file("/usr/lib/libz.so.1.3", 3 * MIB, "deb:a"),
        file("/opt/libz.so.1", 3 * MIB, "deb:b"),
    ]
    owners = ("deb:libcudart12", "wheel:nvidia-cuda-runtime")
    found = Duplicate(name="libcudart.so.12", identical=False, owners=owners, paths=(WHEEL, CUDA), saved=2 * MIB)
    assert duplicates(entries) == (found,)


def test_library_with_the_same_bytes_is_told_once() -> None:
    entries = [
        file(CUDA, 3 * MIB, "deb:libcudart12", content="c"),
        file(WHEEL, 3 * MIB, "wheel:nvidia-cuda-runtime", content="c"),
    ]
    (found,) = duplicates(entries)
    assert found.identical
    assert found.saved == 3 * MIB


def test_what_saves_most_comes_first() -> None:
    entries = [
        file(f"/{owner}/{size}", size * MIB, f"deb:{owner}", content=str(size)) for size in (2, 5, 3) for owner in "ab"
    ]
    assert [found.saved for found in duplicates(entries)] == [5 * MIB, 3 * MIB, 2 * MIB]


class Notes(Quiet):
    """Progress that keeps what was noted."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


def recipe(sample: Sample, budget: str = "") -> Recipe:
    if budget:
        sample.swap("profiles/small.yaml", "  hostname: small", f"  hostname: small\n  size_budget: {budget}")
    return load_buildable(sample.project, "small")


def test_budget_of_the_profile_names_its_line(sample: Sample) -> None:
    made = recipe(sample, "3M")
    weigh(made, [file("/1", 3 * MIB)], Notes())
    with pytest.raises(LichenError) as caught:
        weigh(made, [file("/1", 3 * MIB), file("/2", 1)], Notes())
    (problem,) = caught.value.problems
    assert problem.where == sample.at("profiles/small.yaml", "size_budget")


def test_without_budget_any_size_will_do(sample: Sample) -> None:
    weigh(recipe(sample), [file("/1", 1 << 50)], Notes())


def test_duplicates_are_noted(sample: Sample) -> None:
    notes = Notes()
    same = [file(f"/{owner}/x", 2 * MIB, owner, content="x") for owner in ("deb:x", "wheel:x")]
    weigh(recipe(sample), [*same, file(CUDA, 3 * MIB, "deb:c"), file(WHEEL, 3 * MIB, "wheel:c")], notes)
    assert notes.texts == [
        "libcudart.so.12: a library from deb:c and wheel:c; 3 MiB could be saved",
        "x: the same from deb:x and wheel:x; 2 MiB could be saved",
    ]
