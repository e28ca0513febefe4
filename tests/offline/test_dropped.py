"""Mirrors drop files that a lock names: the snapshot service, and what is said when that has not got them either."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from builder.data.lock import Deb, LockedFile, LockedModel, read_lock
from builder.foundation.errors import InputError, LichenError, Problem
from builder.foundation.store import Store
from builder.foundation.workbench import Workbench
from builder.steps.profiles import load_buildable
from builder.verbs.fetch import bring, fetch_profile
from tests.cli.conftest import Lichen
from tests.lock.archive import Package
from tests.lock.world import World
from tests.store import mirror as faulty
from tests.store.conftest import Recorder
from tests.store.mirror import Mirror

DAY = timedelta(days=1)


def deb(world: World, name: str) -> Deb:
    (found,) = (item for item in read_lock(world.path).debs if item.name == name and item.architecture != "arm64")
    return found


def drop(world: World, *debs: Deb) -> None:
    """The mirror has these files no longer, as after an update."""
    for item in debs:
        del world.mirror.files[f"/{item.archive}/{item.path}"]


def dates(world: World, archive: str) -> list[datetime]:
    """When the indices of an archive were made that the lock was made from, the youngest first."""
    found = [datetime.fromisoformat(i.date) for i in read_lock(world.path).suites if i.archive == archive]
    return sorted(found, reverse=True)


def problems_of(bench: Workbench) -> tuple[Problem, ...]:
    with pytest.raises(LichenError) as caught:
        fetch_profile(bench, "small")
    assert caught.value.exit_code == 1
    return caught.value.problems


@pytest.fixture
def snapshot(locked: World) -> Iterator[Mirror]:
    """A snapshot service."""
    with Mirror() as service:
        yield service


def offer(service: Mirror, item: Deb, moment: datetime, content: bytes) -> str:
    path = f"/archive/{item.archive}/{moment:%Y%m%dT%H%M%SZ}/{item.path}"
    service.files[path] = content
    return path


@pytest.mark.parametrize("later", [DAY, timedelta(0)])
def test_snapshot_has_what_mirrors_dropped(locked: World, bench: Workbench, snapshot: Mirror, later: timedelta) -> None:
    """As it was a day after the lock's index, or else at its very date."""
    locked.security.date += timedelta(minutes=7)  # other archives have other dates
    nano, less = deb(locked, "nano"), deb(locked, "less")
    moment = dates(locked, "debian")[0]
    paths = []
    for item in (nano, less):
        content = locked.mirror.files[f"/debian/{item.path}"]
        paths.append(offer(snapshot, item, moment + later, content))
        drop(locked, item)
    fetch_profile(replace(bench, snapshot=f"{snapshot.url}/"), "small")
    for item in (nano, less):
        Store(bench.cache.store).verified(item.sha256, item.size)
    found = [request.path for request in snapshot.requests if request.path in snapshot.files]
    assert sorted(found) == sorted(paths)
    assert len(snapshot.requests) == (2 if later else 4)  # and for nothing else


def test_snapshot_of_the_security_archive(locked: World, bench: Workbench, snapshot: Mirror) -> None:
    locked.security.add(Package("less", "1:668-1+deb13u1", "amd64", depends="libtinfo6"))
    locked.security.date -= timedelta(days=2)
    locked.publish()
    locked.lock(upgrade=True)
    less = deb(locked, "less")
    assert less.archive == "debian-security"
    content = locked.mirror.files[f"/debian-security/{less.path}"]
    offer(snapshot, less, dates(locked, "debian-security")[0] + DAY, content)
    drop(locked, less)
    fetch_profile(replace(bench, snapshot=snapshot.url), "small")


def test_snapshot_is_not_trusted(locked: World, bench: Workbench, snapshot: Mirror) -> None:
    nano = deb(locked, "nano")
    content = locked.mirror.files[f"/debian/{nano.path}"]
    offer(snapshot, nano, dates(locked, "debian")[0] + DAY, bytes(byte ^ 1 for byte in content))
    drop(locked, nano)
    [problem] = problems_of(replace(bench, snapshot=snapshot.url))
    mirror, later, exact = problem.why.splitlines()
    assert mirror == f"{locked.mirror.url}/debian: HTTP 404 Not Found"
    assert later.startswith(f"{snapshot.url}/archive/debian/")
    assert ": other bytes: sha256 " in later
    assert exact.endswith(": HTTP 404 Not Found")
    assert not Store(bench.cache.store).has(nano.sha256, nano.size)
    assert "--snapshot" not in problem.remedy  # there is one, and it has not got the file


@pytest.mark.parametrize("service", ["snapshot", "ftp://snapshot.test", "//snapshot.test"])
def test_snapshot_must_be_a_url(locked: World, bench: Workbench, service: str) -> None:
    with pytest.raises(InputError) as caught:
        fetch_profile(replace(bench, snapshot=service), "small")
    [problem] = caught.value.problems
    assert (problem.what, problem.where) == ("not a snapshot service", service)
    assert "`--snapshot URL`" in problem.remedy


@pytest.mark.parametrize("way", ["option", "environment"])
def test_snapshot_from_the_command_line(
    locked: World, lichen: Lichen, snapshot: Mirror, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    nano = deb(locked, "nano")
    offer(snapshot, nano, dates(locked, "debian")[0] + DAY, locked.mirror.files[f"/debian/{nano.path}"])
    drop(locked, nano)
    options = ["--cache", str(locked.cache.root), "--index", locked.index.url]
    for mirror in locked.at(locked.mirror):
        options += ["--mirror", mirror]
    if way == "option":
        options += ["--snapshot", snapshot.url]
    else:
        monkeypatch.setenv("LICHEN_SNAPSHOT", snapshot.url)
    said = lichen("fetch", "small", *options)
    assert said.code == 0, said.err
    assert snapshot.requests


def test_all_dropped_files_are_told_with_what_a_new_lock_would_bring(
    locked: World, bench: Workbench, told: Recorder
) -> None:
    drop(locked, deb(locked, "nano"), deb(locked, "zstd"), deb(locked, "libtinfo6"))
    for name, version in (("nano", "9.0-1"), ("libtinfo6", "6.6-1"), ("systemd", "300-1")):
        suite = locked.updates if name == "nano" else locked.trixie
        suite.upgrade(name, version)
        suite.publish_indices(locked.mirror)
        locked.mirror.files[f"{suite.folder}/InRelease"] = locked.key.sign(suite.release())
    before = locked.path.read_text()
    [problem] = problems_of(bench)
    assert problem.what == "no mirror has 3 locked files any more"
    assert problem.where.splitlines() == ["libtinfo6 6.5+20250216-2 all", "nano 8.4-1+deb13u1 all", "zstd 1.0-1 all"]
    assert problem.why == f"{locked.mirror.url}/debian: HTTP 404 Not Found"
    first, *lines = problem.remedy.splitlines()
    assert "`--mirror ARCHIVE=URL`" in first
    assert "`--snapshot URL`" in first
    assert first.endswith("lock anew: `lichen lock small --upgrade` would now choose")
    assert lines == [
        "  libtinfo6 6.6-1 instead of 6.5+20250216-2",
        "  nano 9.0-1 instead of 8.4-1+deb13u1",
        "  zstd 1.0-1 all again: its mirror lacks what it lists",
        "  and change 1 more",
    ]
    assert told.notes == ["asking what `lichen lock small --upgrade` would change"]
    # It was a question only.
    assert locked.path.read_text() == before
    assert list(bench.cache.apt.iterdir()) == []
    # Everything else is there.
    assert len(list(Store(bench.cache.store).objects())) == len(read_lock(locked.path).files) - 3
    # And doing what it says helps.
    locked.publish()
    drop(locked, *[item for item in read_lock(locked.path).debs if item.name == "nano"])
    locked.lock(upgrade=True)
    fetch_profile(bench, "small")


def test_dropped_wheel(locked: World, bench: Workbench) -> None:
    name = "fast-3.0-cp313-cp313-manylinux_2_28_x86_64.whl"
    del locked.mirror.files[f"/simple/files/{name}"]
    locked.index.add("fast", "3.1")
    [problem] = problems_of(bench)
    assert problem.what == "no mirror has a locked file any more"
    assert problem.where == f"fast 3.0 {name}"
    assert problem.remedy.splitlines()[-1] == "  fast 3.1 instead of 3.0"
    assert "--snapshot" not in problem.remedy


def test_dropped_model_is_the_profiles_business(locked: World, bench: Workbench) -> None:
    model = LockedModel(name="tiny", sha256="a" * 64, size=3, target="/srv/tiny")
    source = f"{locked.mirror.url}/gone.bin"
    locked.sample.add(
        "profiles/small.yaml",
        f"models: {{tiny: {{source: '{source}', sha256: {'a' * 64}, size: 3, target: /srv/tiny}}}}\n",
    )
    files: list[LockedFile] = [model]
    recipe = load_buildable(bench.project, "small")
    with pytest.raises(LichenError) as caught:
        bring(bench, recipe, read_lock(locked.path), files)
    [problem] = caught.value.problems
    assert (problem.where, problem.why) == ("model tiny", f"{source}: HTTP 404 Not Found")
    assert problem.remedy == "give their new place as `models.NAME.source` in the profile"
    assert not any("/dists/" in request.path for request in locked.mirror.requests)


def test_package_that_no_suite_lists_any_more(locked: World, bench: Workbench) -> None:
    """Then a new lock cannot be made as the profile is, and that is said."""
    drop(locked, deb(locked, "nano"))
    for suite in (locked.trixie, locked.updates):
        suite.packages = [package for package in suite.packages if package.name != "nano"]
        suite.publish_indices(locked.mirror)
        locked.mirror.files[f"{suite.folder}/InRelease"] = locked.key.sign(suite.release())
    [problem] = problems_of(bench)
    assert problem.where == "nano 8.4-1+deb13u1 all"
    assert "`lichen lock small --upgrade`, of which cannot be told now what it would change (" in problem.remedy
    assert "nano" in problem.remedy.partition("cannot be told")[2]


def test_suites_that_were_expired_are_no_surprise(locked: World, bench: Workbench) -> None:
    locked.forky.valid_until = datetime.now(UTC) - timedelta(days=3)
    locked.publish()
    locked.lock(upgrade=True, accept_expired=frozenset({"forky"}))
    drop(locked, deb(locked, "mkosi"))
    locked.forky.upgrade("mkosi", "27.1-1")
    locked.forky.publish_indices(locked.mirror)
    locked.mirror.files[f"{locked.forky.folder}/InRelease"] = locked.key.sign(locked.forky.release())
    [problem] = problems_of(bench)
    assert problem.remedy.splitlines()[-1] == "  mkosi 27.1-1 instead of 27-1"


def test_mirror_that_is_down_is_asked_nothing_more(locked: World, bench: Workbench, told: Recorder) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        down = f"http://127.0.0.1:{unused.getsockname()[1]}"
    both = replace(bench, mirrors=(*bench.mirrors, f"debian={down}/debian"))
    drop(locked, deb(locked, "nano"))
    [problem] = problems_of(both)
    assert problem.what == "cannot download a locked file"
    assert "Connection refused" in problem.why
    assert told.notes == []
    assert not any("/dists/" in request.path for request in locked.mirror.requests)


def test_mirror_that_fails_is_asked_nothing_more(locked: World, bench: Workbench, told: Recorder) -> None:
    nano = deb(locked, "nano")
    locked.mirror.faults[f"/debian/{nano.path}"] = [faulty.status(503)] * 9
    drop(locked, deb(locked, "zstd"))
    problems = problems_of(bench)
    assert [problem.what for problem in problems] == ["cannot download a locked file"] * 2
    assert told.notes == []
    assert not any("/dists/" in request.path for request in locked.mirror.requests)
