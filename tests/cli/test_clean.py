"""The cache: what it holds, what is needed, what goes, and never under a running build."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.data.lock import Deb, Lock, SuiteIndex
from builder.data.plan import Component, Plan
from builder.foundation.errors import EXIT_BAD_INPUT, EXIT_FAILED, InputError, LichenError, Problem
from builder.foundation.inuse import exclusive, shared
from builder.foundation.place import Cache
from builder.foundation.store import Store
from builder.foundation.workbench import Workbench
from builder.steps.components import HISTORY
from builder.steps.profiles import load_recipe
from tests.cli.conftest import Lichen
from tests.profiles.sample import Sample

NEEDED, SPARE = "a" * 64, "b" * 64
COMPONENT = Component(name="tools", inputs={"lock": "1"})


def stand_in_plan(workbench: Workbench, name: str, architecture: str | None = None) -> Plan:
    return Plan(profile=name, architecture=architecture or "", lock=NEEDED, components=(COMPONENT,))


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
    monkeypatch.setattr("builder.verbs.clean.make_plan", stand_in_plan)
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
    def no_plan(workbench: Workbench, name: str, architecture: str | None = None) -> Plan:
        raise InputError(Problem("the lock is stale"))

    monkeypatch.setattr("builder.verbs.clean.make_plan", no_plan)
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
    monkeypatch.setattr("builder.verbs.clean.make_plan", stand_in_plan)
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
