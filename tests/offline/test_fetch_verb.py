"""Everything a lock names comes into the store, and from there to machines without network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from builder.data.lock import Lock, LockedModel, read_lock
from builder.data.profile import Repository
from builder.data.recipe import Recipe
from builder.foundation.digest import digest_bytes
from builder.foundation.errors import InputError, LichenError
from builder.foundation.store import Store
from builder.foundation.workbench import Workbench
from builder.steps.profiles import load_buildable
from builder.verbs.fetch import bring, fetch_profile, import_bundle
from builder.verbs.sources import find_sources
from tests.cli.conftest import Lichen
from tests.lock.world import World
from tests.profiles.sample import Sample
from tests.store.conftest import Recorder
from tests.store.mirror import locked as locked_deb
from tests.store.test_fetch_models import packed

Elsewhere = Callable[[], Workbench]
MODEL = b"the weights of a model"


def assert_all_there(bench: Workbench, lock: Lock) -> None:
    store = Store(bench.cache.store)
    for file in lock.files:
        store.verified(file.sha256, file.size)
    assert list(store.partials()) == []


def test_everything_comes_once(locked: World, bench: Workbench) -> None:
    lock = read_lock(locked.path)
    first = fetch_profile(bench, "small")
    assert (first.files, first.brought) == (len(lock.files), len(lock.files))
    assert first.size == first.brought_size == sum(file.size for file in lock.files)
    assert len(lock.files) == len(lock.debs) + len(lock.wheels)
    assert_all_there(bench, lock)
    locked.mirror.requests.clear()
    second = fetch_profile(bench, "small")
    assert (second.files, second.size, second.brought, second.brought_size) == (first.files, first.size, 0, 0)
    assert locked.mirror.requests == []


def test_nothing_is_looked_for_when_nothing_is_missing(
    locked: World, bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch_profile(bench, "small")
    # Not even a process is started that could ask apt or pip.
    monkeypatch.setattr("builder.foundation.process.subprocess.Popen", None)
    fetch_profile(replace(bench, mirrors=(), indices=()), "small")


def test_damaged_file_is_noted_and_comes_anew(locked: World, bench: Workbench, told: Recorder) -> None:
    fetch_profile(bench, "small")
    deb = read_lock(locked.path).debs[3]
    path = Store(bench.cache.store).path(deb.sha256)
    path.chmod(0o644)
    path.write_bytes(bytes(deb.size))
    assert fetch_profile(bench, "small").brought == 1
    [note] = told.notes
    assert note.startswith(f"{deb.name} {deb.version} {deb.architecture}: a file in the store was changed: ")
    assert_all_there(bench, read_lock(locked.path))


@pytest.mark.parametrize("state", ["missing", "stale"])
def test_lock_must_be_current(locked: World, bench: Workbench, state: str) -> None:
    if state == "missing":
        locked.path.unlink()
    else:
        locked.sample.swap("profiles/small.yaml", "hostname: small", "hostname: other")
    with pytest.raises(InputError) as caught:
        fetch_profile(bench, "small")
    assert "run `lichen lock small`" in caught.value.problems[0].remedy
    assert not bench.cache.store.exists()


def test_models_come_from_where_the_profile_says(locked: World, bench: Workbench, tmp_path: Path) -> None:
    """As URL, and as a file within a wheel."""
    (tmp_path / "plain.bin").write_bytes(MODEL)
    locked.index.put("pages-model", "pages_model-1.0-py3-none-any.whl", packed({"pages/model.bin": MODEL + b"!"}))
    models = [
        LockedModel(name=name, sha256=digest_bytes(content), size=len(content), target=f"/srv/{name}")
        for name, content in (("plain", MODEL), ("inside", MODEL + b"!"))
    ]
    sources = {"plain": (tmp_path / "plain.bin").as_uri(), "inside": "pypi:Pages.Model==1.0/pages/model.bin"}
    keys = "".join(
        f"  {model.name}: {{source: {sources[model.name]!r}, sha256: {model.sha256}, size: {model.size}, "
        f"target: {model.target}}}\n"
        for model in models
    )
    locked.sample.add("profiles/small.yaml", f"models:\n{keys}")
    recipe = load_buildable(bench.project, "small")
    lock = read_lock(locked.path).model_copy(update={"models": tuple(models)})
    assert [file.name for file in bring(bench, recipe, lock, models)] == ["plain", "inside"]
    store = Store(bench.cache.store)
    assert [store.verified(model.sha256, model.size).read_bytes() for model in models] == [MODEL, MODEL + b"!"]


def with_vendor(bench: Workbench, url: str | None, wheels: str | None = None) -> Recipe:
    recipe = load_buildable(bench.project, "small")
    vendor = Repository(url=url, key="key.asc", fingerprint="A" * 40, suites=("./",), wheels=wheels)
    profile = recipe.profile.model_copy(update={"repositories": {"vendor": vendor}})
    return replace(recipe, profile=profile)


def test_vendors_packages_come_from_the_option_or_the_profile(locked: World, bench: Workbench) -> None:
    vendors = locked_deb(b"driver").model_copy(update={"archive": "vendor"})
    debian = read_lock(locked.path).debs[:1]
    recipe = with_vendor(bench, "https://vendor.test/deb", "https://vendor.test/simple")
    found = find_sources(bench, recipe, [vendors])
    assert (dict(found.mirrors), list(found.indexes)) == ({"vendor": ["https://vendor.test/deb"]}, [])
    near = replace(bench, mirrors=(*bench.mirrors, "vendor=file:///srv/vendor"))
    assert find_sources(near, recipe, [vendors]).mirrors == {"vendor": ["file:///srv/vendor"]}
    found = find_sources(near, recipe, [vendors, *debian])
    assert found.mirrors["vendor"] == ["file:///srv/vendor"]
    assert found.mirrors["debian"] == [f"{locked.mirror.url}/debian"]
    wheels = find_sources(bench, recipe, read_lock(locked.path).wheels)
    assert list(wheels.indexes) == [locked.index.url, "https://vendor.test/simple"]


def test_vendor_without_a_place_is_bad_input(locked: World, bench: Workbench) -> None:
    vendors = locked_deb(b"driver").model_copy(update={"archive": "vendor"})
    with pytest.raises(InputError) as caught:
        bring(bench, with_vendor(bench, None), read_lock(locked.path), [vendors])
    [problem] = caught.value.problems
    assert problem.what == "nothing says where the repository 'vendor' is"
    assert "`--mirror vendor=URL`" in problem.remedy


@pytest.fixture
def bundle(bench: Workbench, tmp_path: Path) -> Path:
    fetched = fetch_profile(bench, "small", export=tmp_path / "small.bundle")
    assert fetched.bundle
    return fetched.bundle


def test_bundle_brings_everything_to_another_machine(locked: World, bundle: Path, elsewhere: Elsewhere) -> None:
    there = elsewhere()
    imported = import_bundle(there, bundle)
    lock = read_lock(locked.path)
    assert (imported.state, imported.fetched.brought) == ("same", len(lock.files))
    assert imported.fetched.brought_size == imported.fetched.size == sum(file.size for file in lock.files)
    assert_all_there(there, lock)
    # Now the other machine does all of it without a mirror, and could pass it on.
    again = fetch_profile(there, "small", export=bundle.with_name("again"))
    assert again.brought == 0
    assert bundle.with_name("again").read_bytes() == bundle.read_bytes()


@pytest.mark.parametrize("state", ["other", "missing", "damaged"])
def test_project_with_another_lock_is_told(bundle: Path, elsewhere: Elsewhere, state: str) -> None:
    there = elsewhere()
    path = there.project.lock("small", "amd64")
    before = None
    if state == "missing":
        path.unlink()
    else:
        before = "{" if state == "damaged" else path.read_text().replace('"without": []', '"without": ["x"]')
        path.write_text(before)
    imported = import_bundle(there, bundle)
    assert imported.state == ("missing" if state == "missing" else "other")
    assert imported.path == path
    assert (path.read_text() if path.exists() else None) == before
    assert_all_there(there, imported.fetched.lock)


def test_commands(locked: World, lichen: Lichen, tmp_path: Path) -> None:
    options = ["--cache", str(locked.cache.root), "--index", locked.index.url]
    for mirror in locked.at(locked.mirror):
        options += ["--mirror", mirror]
    count = len(read_lock(locked.path).files)
    said = lichen("fetch", "small", "--export", "all of it", *options)
    assert said.code == 0, said.err
    assert f"small amd64: {count} files, " in said.out
    assert f"; {count} fetched (" in said.out
    assert f"), 0 already there\nall of it is in {locked.sample.root}/all of it, " in said.out
    assert "lichen fetch --import" in said.err
    told = lichen("fetch", "small", "--json", *options).json
    assert (told["files"], told["brought"], told["brought_bytes"]) == (count, 0, 0)
    assert told["bytes"] > 0
    assert told["lock"] == read_lock(locked.path).digest

    other = ["--cache", str(tmp_path / "other")]
    said = lichen("fetch", "--import", "all of it", *other)
    assert said.code == 0, said.err
    assert f"; {count} imported (" in said.out
    assert f"{locked.path} is the same lock" in said.err
    told = lichen("fetch", "--import", "all of it", "--json", *other).json
    assert (told["brought"], told["project_lock"], told["path"]) == (0, "same", str(locked.path))
    locked.path.write_text("{")
    said = lichen("fetch", "--import", "all of it", *other)
    assert "is another lock" in said.err
    assert f"tar -xOf '{locked.sample.root}/all of it' lock.json" in said.err


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["fetch"], "no profile given"),
        (["fetch", "small", "--import", "x"], "--import stands alone"),
        (["fetch", "--import", "x", "--export", "y"], "--import stands alone"),
        (["fetch", "--import", "x", "-a", "amd64"], "--import stands alone"),
        (["fetch", "--import", "missing"], "the bundle cannot be read"),
        (["fetch", "unknown"], "there is no profile called 'unknown'"),
    ],
)
def test_bad_command_lines(sample: Sample, lichen: Lichen, words: list[str], what: str) -> None:
    said = lichen(*words, "--json")
    assert said.code == 2
    assert what in said.json["error"][0]["what"]


def test_damaged_bundle_is_bad_input(locked: World, lichen: Lichen, bundle: Path) -> None:
    data = bytearray(bundle.read_bytes())
    data[-2000] ^= 1
    bundle.write_bytes(data)
    said = lichen("fetch", "--import", str(bundle), "--cache", str(bundle.parent / "other"))
    assert said.code == 2
    assert "error: the bundle is damaged" in said.err


def test_cache_that_cannot_be_written(bench: Workbench, tmp_path: Path) -> None:
    bench.cache.root.mkdir(exist_ok=True)
    bench.cache.store.write_text("a file")
    with pytest.raises(LichenError) as caught:
        fetch_profile(bench, "small")
    [problem, *_] = caught.value.problems
    assert problem.what == "the store cannot be read"
    assert problem.why.endswith(f"Not a directory: '{problem.where}'")


def test_model_that_the_profile_does_not_name_is_bad_input(locked: World, bench: Workbench) -> None:
    model = LockedModel(name="plain", sha256=digest_bytes(MODEL), size=len(MODEL), target="/srv/plain")
    recipe, files = load_buildable(bench.project, "small"), [model]
    with pytest.raises(InputError, match="no source of the model 'plain' is known"):
        bring(bench, recipe, read_lock(locked.path), files)


def test_other_architecture(locked: World, bench: Workbench) -> None:
    locked.index.add("fast", "3.0", "cp313-cp313-manylinux_2_28_aarch64")
    lock = locked.lock("arm64").lock
    assert fetch_profile(bench, "small", "arm64").files == len(lock.files)
    assert_all_there(bench, lock)
