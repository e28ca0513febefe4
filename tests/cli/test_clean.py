"""The cache: what it holds, what is needed, what goes, and never under a running build."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from builder.data.history import Target
from builder.data.lock import Deb, Lock, SuiteIndex, read_lock
from builder.data.plan import Component
from builder.data.profile import Architecture
from builder.data.recipe import Recipe
from builder.foundation.digest import digest_bytes
from builder.foundation.errors import EXIT_BAD_INPUT, EXIT_FAILED, InputError, LichenError, Problem
from builder.foundation.inuse import exclusive, shared
from builder.foundation.place import Cache
from builder.foundation.store import Store
from builder.foundation.workbench import Workbench
from builder.steps.components import HISTORY, RECORD, ComponentCache
from builder.steps.profiles import load_recipe
from builder.verbs.clean import Holding, choose
from tests.cli.conftest import Lichen
from tests.profiles.sample import Sample

NEEDED, SPARE = "a" * 64, "b" * 64
COMPONENT = Component(name="tools", inputs={"lock": "1"})


def as_written(workbench: Workbench, recipe: Recipe, architecture: Architecture) -> Lock:
    return read_lock(workbench.project.lock(recipe.name, architecture))


def stand_in(recipe: Recipe, lock: Lock, signed_for: str | None = None) -> tuple[Component, ...]:
    return (COMPONENT,)


def put(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def cache(sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    """A cache with one needed and one spare thing of each kind, and a project with a lock."""
    made = Cache(tmp_path / "cache")
    store = Store(made.store)
    for sha256 in (NEEDED, SPARE):
        put(store.path(sha256)).chmod(0o444)
        put(made.store / "derived" / "control" / sha256)
    put(made.store / "partial" / SPARE)
    put(made.components / "tools" / COMPONENT.key / "usr" / "bin" / "qemu")
    put(made.components / "tools" / SPARE / "usr" / "bin" / "qemu")
    put(made.components / "tools" / HISTORY)
    put(made.components / "tools" / f".{COMPONENT.key}.lock", "")
    put(made.components / "tools" / f".{SPARE}.lock", "")
    put(made.components / "tools" / f".{SPARE}.partial" / "half")
    put(made.apt / "trixie" / "lists")
    put(made.uv / "wheels" / "x.whl")
    put(made.workspace / "left-over" / "image.raw")
    put(sample.project.images / "small" / "image.raw")
    deb = Deb(
        name="nano",
        version="1",
        architecture="amd64",
        archive="debian",
        path="pool/n.deb",
        size=1,
        sha256=NEEDED,
        uses=(),
    )
    suite = SuiteIndex(archive="debian", suite="trixie", date="2025-01-01T00:00:00Z", inrelease_sha256=NEEDED)
    lock = Lock(
        profile="small",
        architecture="amd64",
        recipe=load_recipe(sample.project, "small").digest(),
        resolution=NEEDED,
        source_date_epoch=1,
        suites=(suite,),
        debs=(deb,),
        wheels=(),
    )
    put(sample.project.lock("small", "amd64"), lock.text())
    monkeypatch.setattr("builder.verbs.clean.current_lock", as_written)
    monkeypatch.setattr("builder.verbs.clean.image_components", stand_in)
    return made


def held(cache: Cache) -> set[str]:
    return {
        path.relative_to(cache.root).as_posix()
        for path in cache.root.rglob("*")
        if path.is_file() and not path.name.endswith(".lock")
    }


def kept(cache: Cache) -> set[str]:
    return {
        f"store/sha256/aa/{NEEDED}",
        f"store/derived/control/{NEEDED}",
        f"components/tools/{COMPONENT.key}/usr/bin/qemu",
        f"components/tools/{HISTORY}",
    }


def test_without_options_nothing_goes(cache: Cache, lichen: Lichen) -> None:
    before = held(cache)
    said = lichen("clean")
    assert said.code == 0
    assert held(cache) == before
    rows = {tuple(line.split()[:2]): line.split() for line in said.out.splitlines()}
    assert rows["store", "5"][4] == "3"
    assert rows["component", "tools"][2] == "3"
    assert rows["history", "1"][4] == "0"
    assert "--unused" in said.err
    told = lichen("clean", "--json").json
    assert told["cache"] == str(cache.root)
    needed = {item["path"] for item in told["holds"] if item["needed"]}
    assert str(cache.components / "tools" / COMPONENT.key) in needed
    assert str(cache.components / "tools" / SPARE) not in needed


def test_unused_removes_what_no_lock_or_plan_needs(cache: Cache, sample: Sample, lichen: Lichen) -> None:
    said = lichen("clean", "--unused", "--json")
    assert said.code == 0
    assert held(cache) == kept(cache)
    assert (sample.project.images / "small" / "image.raw").exists()
    assert len(said.json["removed"]) == 8
    assert sorted(path.name for path in (cache.components / "tools").iterdir()) == sorted(
        [COMPONENT.key, f".{COMPONENT.key}.lock", HISTORY]
    )
    assert lichen("clean", "--unused").out.startswith("removed 0 items")


def test_all_removes_everything_but_images(cache: Cache, sample: Sample, lichen: Lichen) -> None:
    assert lichen("clean", "--all").code == 0
    assert held(cache) == set()
    assert (sample.project.images / "small" / "image.raw").exists()


def test_profile_without_a_plan_keeps_all_components(
    cache: Cache, lichen: Lichen, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_plan(recipe: Recipe, lock: Lock, signed_for: str | None = None) -> tuple[Component, ...]:
        raise InputError(Problem("the lock is stale"))

    monkeypatch.setattr("builder.verbs.clean.image_components", no_plan)
    said = lichen("clean", "--unused")
    assert "keeping all components, small has no plan: the lock is stale" in said.err
    assert (cache.components / "tools" / SPARE).exists()
    assert not (cache.root / f"store/sha256/bb/{SPARE}").exists()


def test_damaged_lock_stops_unused_but_not_all(cache: Cache, sample: Sample, lichen: Lichen) -> None:
    sample.project.lock("small", "amd64").write_text("{")
    before = held(cache)
    assert lichen("clean", "--unused").code == EXIT_BAD_INPUT
    assert held(cache) == before
    assert lichen("clean", "--all").code == 0
    assert held(cache) == set()


@pytest.mark.parametrize("option", ["--unused", "--all"])
def test_nothing_goes_while_the_cache_is_in_use(cache: Cache, lichen: Lichen, option: str) -> None:
    before = held(cache)
    with shared(cache):
        said = lichen("clean", option)
    assert said.code == EXIT_FAILED
    assert "the cache is in use" in said.err
    assert held(cache) == before
    assert lichen("clean", option).code == 0


def test_running_machine_keeps_itself_and_its_tools(
    cache: Cache, lichen: Lichen, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("lab", "old"):
        put(cache.root / "machines" / name / "console.log")
    monkeypatch.setattr("builder.verbs.clean.running_machines", lambda _: ["lab"])
    assert lichen("clean", "--all").code == 0
    left = held(cache)
    assert "machines/lab/console.log" in left
    assert "machines/old/console.log" not in left
    assert f"components/tools/{COMPONENT.key}/usr/bin/qemu" in left


def test_removal_killed_midway_leaves_no_half_component(
    cache: Cache, lichen: Lichen, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("builder.verbs.clean.shutil.rmtree", killed)
        assert lichen("clean", "--all").code == 130
    for folder in cache.components.glob("*/[0-9a-f]*"):
        assert (folder / "usr/bin/qemu").exists()
    # What was moved aside goes with the next clean.
    assert lichen("clean", "--all").code == 0
    assert held(cache) == set()


def test_what_cannot_be_removed_is_told(cache: Cache, lichen: Lichen, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: Path) -> Path:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)
    said = lichen("clean", "--unused", "--json")
    assert said.code == EXIT_FAILED
    assert {problem["what"] for problem in said.json["error"]} == {"cannot be removed"}


def test_empty_or_absent_cache(sample: Sample, lichen: Lichen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builder.verbs.clean.current_lock", as_written)
    monkeypatch.setattr("builder.verbs.clean.image_components", stand_in)
    nowhere = str(tmp_path / "nowhere")
    assert lichen("clean", "--cache", nowhere, "--json").json["holds"] == []
    assert not Path(nowhere).exists()
    assert lichen("clean", "--cache", nowhere, "--all").code == 0


def test_links_in_the_cache_are_removed_not_followed(cache: Cache, lichen: Lichen, tmp_path: Path) -> None:
    precious = put(tmp_path / "precious" / "file")
    (cache.workspace / "link").symlink_to(precious.parent)
    (cache.components / "tools" / ("c" * 64)).symlink_to(precious.parent)
    (cache.root / "elsewhere").symlink_to(precious.parent)
    assert lichen("clean", "--all").code == 0
    assert precious.exists()
    assert not (cache.workspace / "link").is_symlink()


def test_shared_with_shared_but_not_with_exclusive(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    with shared(cache), shared(cache), pytest.raises(LichenError, match="in use"), exclusive(cache):
        pass
    with exclusive(cache), pytest.raises(LichenError, match="in use"), exclusive(cache):
        pass


def test_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(LichenError, match="cannot be written"), shared(Cache(tmp_path / "cache")):
        pass


DAY = 86400
NOW = 1_800_000_000


def holding(name: str, size: int, days: float, *, needed: bool = False) -> Holding:
    return Holding("store", Path(name), size, needed, NOW - days * DAY)


# What is needed is oldest.
HOLDINGS = (
    holding("needed", 100, 90, needed=True),
    holding("new", 5, 1),
    holding("old", 20, 60),
    holding("older", 10, 70),
    holding("middle", 30, 30),
)


@pytest.mark.parametrize(
    ("days", "max_size", "expected"),
    [
        (None, None, ["older", "old", "middle", "new"]),
        (91, None, []),
        (65, None, ["older"]),
        (60, None, ["older"]),  # not older than that
        (59.9, None, ["older", "old"]),
        (0, None, ["older", "old", "middle", "new"]),
        (None, 165, []),
        (None, 164, ["older"]),
        (None, 155, ["older"]),
        (None, 154, ["older", "old"]),
        (None, 105, ["older", "old", "middle"]),
        (None, 99, ["older", "old", "middle", "new"]),
        # Both: the older ones, and more if that is not enough.
        (65, 165, ["older"]),
        (65, 154, ["older", "old"]),
        (20, 164, ["older", "old", "middle"]),
    ],
)
def test_what_goes_and_in_which_order(days: float | None, max_size: int | None, expected: list[str]) -> None:
    before = None if days is None else NOW - days * DAY
    assert [item.path.name for item in choose(HOLDINGS, before, max_size)] == expected


def age(path: Path, days: float) -> None:
    """Let ``path`` and all below it have been used so long ago."""
    then = time.time() - days * DAY
    for item in (*path.rglob("*"), path):
        os.utime(item, (then, then), follow_symlinks=False)


@pytest.fixture
def aged(cache: Cache) -> Cache:
    """All of it is 40 days old, but for a spare file and the spare component, which were used since."""
    age(cache.root, 40)
    age(cache.store / "sha256" / "bb" / SPARE, 10)
    used = cache.components / "tools" / SPARE
    os.utime(used, (time.time(), time.time()))  # what is inside stays old
    return cache


RECENT = (f"store/sha256/bb/{SPARE}", f"components/tools/{SPARE}/usr/bin/qemu")


def test_older_than(aged: Cache, lichen: Lichen) -> None:
    said = lichen("clean", "--older-than", "30d")
    assert said.code == 0, said.err
    assert held(aged) == kept(aged) | {*RECENT}
    assert said.out.startswith("removed 6 items, ")
    assert said.err == ""
    told = lichen("clean", "--older-than", "1w", "--json").json
    assert [item["path"] for item in told["removed"]] == [str(aged.root / RECENT[0])]
    assert told["over"] == 0
    assert held(aged) == kept(aged) | {RECENT[1]}
    assert lichen("clean", "--older-than", "1h").out.startswith("removed 0 items")
    assert held(aged) == kept(aged) | {RECENT[1]}


def test_new_file_deep_in_an_old_folder_counts_as_use(aged: Cache, lichen: Lichen) -> None:
    for name in "abcdefgh":
        put(aged.apt / "trixie" / name)
    age(aged.apt, 40)
    put(aged.apt / "trixie" / "lists", "new")
    assert lichen("clean", "--older-than", "30d").code == 0
    assert (aged.apt / "trixie" / "lists").exists()
    assert not (aged.uv / "wheels").exists()


def test_max_size(aged: Cache, lichen: Lichen) -> None:
    before = lichen("clean", "--json").json["holds"]
    total = sum(item["size"] for item in before)
    assert lichen("clean", "--max-size", str(total), "--json").json["removed"] == []
    # What was used last stays, the rest of what is not needed must go.
    recent = sum(item["size"] for item in before if not item["needed"] and str(item["path"]).endswith(SPARE))
    needed = sum(item["size"] for item in before if item["needed"])
    told = lichen("clean", "--max-size", str(needed + recent), "--json").json
    assert held(aged) >= kept(aged) | {RECENT[1]}
    assert told["left"] <= needed + recent
    assert told["over"] == 0
    used = [item["used"] for item in told["removed"]]
    assert used == sorted(used)


def test_needed_things_alone_are_larger(aged: Cache, lichen: Lichen) -> None:
    said = lichen("clean", "--max-size", "1K")
    assert said.code == 0
    assert held(aged) == kept(aged)
    assert "what locks and plans need takes " in said.err
    assert "more than 1.0 KiB: nothing else can go" in said.err
    told = lichen("clean", "--max-size", "1K", "--json").json
    assert told["removed"] == []
    assert told["over"] == told["left"] - 1024 > 0


def test_both_limits(aged: Cache, lichen: Lichen) -> None:
    assert lichen("clean", "--older-than", "30d", "--max-size", "1T").code == 0
    assert held(aged) == kept(aged) | {*RECENT}
    assert lichen("clean", "--older-than", "30d", "--max-size", "1").code == 0
    assert held(aged) == kept(aged)


@pytest.mark.parametrize("options", [("--older-than", "30d"), ("--max-size", "1K"), ("--unused",), ("--all",)])
def test_dry_run(aged: Cache, lichen: Lichen, options: tuple[str, ...]) -> None:
    before = held(aged)
    with shared(aged):  # it may be in use: nothing is removed
        said = lichen("clean", *options, "--dry-run")
        told = lichen("clean", *options, "--dry-run", "--json").json
    assert said.code == 0
    assert said.out.splitlines()[-1].startswith(f"would remove {len(told['would_remove'])} items, ")
    assert said.out.splitlines()[0].split()[:2] == ["kind", "items"]
    assert held(aged) == before
    done = lichen("clean", *options, "--json").json
    assert done["removed"] == told["would_remove"]
    assert (done["left"], done["over"]) == (told["left"], told["over"])


def test_use_of_a_component_and_of_a_file_counts(aged: Cache, lichen: Lichen) -> None:
    """Of both it is noted when a build takes them."""
    other = Component(name="initrd", inputs={"lock": "0"})
    components, store, content = ComponentCache(aged.components), Store(aged.store), b"x"
    target = Target(profile="small", architecture="amd64")
    folder = components.provide(other, target, lambda folder: None)
    file = put(store.path(digest_bytes(content)))
    for path in (folder, file):
        age(path, 40)
    os.utime(folder / RECORD)  # what is inside has times of its own
    going = lichen("clean", "--older-than", "30d", "--dry-run", "--json").json["would_remove"]
    assert {str(folder), str(file)} <= {item["path"] for item in going}
    components.use(other, target)
    store.verified(digest_bytes(content), len(content))
    assert lichen("clean", "--older-than", "30d").code == 0
    assert folder.exists()
    assert file.exists()


def test_limits_keep_what_a_running_machine_needs(aged: Cache, lichen: Lichen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builder.verbs.clean.running_machines", lambda _: ["lab"])
    put(aged.root / "machines" / "lab" / "console.log")
    age(aged.root, 40)
    assert lichen("clean", "--older-than", "1d", "--max-size", "1").code == 0
    assert {RECENT[1], "machines/lab/console.log"} <= held(aged)
