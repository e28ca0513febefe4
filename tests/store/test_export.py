"""The exported repository, accepted by the real apt of this machine in a private root."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from builder.data.lock import Deb, Wheel
from builder.foundation.digest import digest_bytes, digest_file
from builder.foundation.errors import LichenError
from builder.foundation.process import Completed, Runner
from builder.foundation.store import MissingObjectError, Store
from builder.steps.export import export_repository, export_wheels, pool_name

CONTROL = """\
Package: {name}
Version: {version}
Architecture: {architecture}
Maintainer: Nobody <nobody@example.org>
Depends: {depends}
Description: one line
 and a longer text
 .
 in two paragraphs
"""
numbers = itertools.count()


def build(folder: Path, name: str, version: str, architecture: str = "amd64", depends: str = "") -> Path:
    """A real package with one file."""
    tree = folder / f"tree{next(numbers)}"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "usr/share").mkdir(parents=True)
    (tree / "usr/share" / name).write_text(version)
    text = CONTROL.format(name=name, version=version, architecture=architecture, depends=depends)
    (tree / "DEBIAN/control").write_text("".join(line for line in text.splitlines(True) if line != "Depends: \n"))
    path = tree.with_suffix(".deb")
    Runner().run(["dpkg-deb", "--root-owner-group", "--build", tree, path])
    return path


def stored(store: Store, file: Path, name: str, version: str, architecture: str = "amd64") -> Deb:
    """Move a package into the store; returns what a lock says of it."""
    size, sha256 = file.stat().st_size, digest_file(file)
    store.insert(file, sha256)
    return Deb(
        name=name,
        version=version,
        architecture=architecture,
        archive="debian",
        path=f"pool/main/{name}.deb",
        size=size,
        sha256=sha256,
        uses=("image",),
    )


def package(store: Store, folder: Path, name: str, version: str, architecture: str = "amd64", depends: str = "") -> Deb:
    return stored(store, build(folder, name, version, architecture, depends), name, version, architecture)


@pytest.fixture
def debs(store: Store, tmp_path: Path) -> list[Deb]:
    return [
        package(store, tmp_path, "tool", "1:2.0+b1~rc-3", "amd64", "common"),
        package(store, tmp_path, "tool", "1:2.0+b1~rc-3", "arm64", "common"),
        package(store, tmp_path, "common", "0.1", "all"),
        package(store, tmp_path, "g++-9", "9.1"),
    ]


def export(store: Store, debs: list[Deb], destination: Path) -> str:
    return export_repository(store, debs, destination, "trixie", Runner())


def apt(root: Path, repository: Path, architecture: str, *words: str) -> Completed:
    """The machine's apt-get in a private root that knows only ``repository``."""
    for name in ("etc/apt", "lists/partial", "cache/archives/partial", "download"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "status").touch()
    (root / "etc/apt/sources.list").write_text(f"deb [trusted=yes] {repository.as_uri()} trixie main\n")
    (root / "conf").write_text(
        f'Dir "{root}"; Dir::Etc "{root}/etc/apt"; Dir::Etc::parts "/dev/null"; Dir::State "{root}";'
        f'Dir::State::status "{root}/status"; Dir::Cache "{root}/cache"; Acquire::Languages "none";'
        f'APT::Architecture "{architecture}"; APT::Architectures "{architecture}"; APT::Sandbox::User "root";'
        'Debug::NoLocking "1";'
    )
    environment = {"APT_CONFIG": str(root / "conf"), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
    return Runner().run(["apt-get", "-y", *words], env=environment, cwd=root / "download")


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_apt_accepts_the_repository(store: Store, debs: list[Deb], tmp_path: Path, architecture: str) -> None:
    repository = tmp_path / "a repository"
    export(store, debs, repository)
    root = tmp_path / "root"
    updated = apt(root, repository, architecture, "update")
    assert updated.stderr == ""
    listed = apt(root, repository, architecture, "-o", "Acquire::ForceHash=SHA256", "--print-uris", "install", "tool")
    tool = next(deb for deb in debs if (deb.name, deb.architecture) == ("tool", architecture))
    common = next(deb for deb in debs if deb.name == "common")
    assert f"SHA256:{tool.sha256}" in listed.stdout
    assert f"SHA256:{common.sha256}" in listed.stdout
    # Downloading checks size and hash; the epoch and the plus in the names must not trip apt up.
    apt(root, repository, architecture, "download", "tool", "common")
    assert {digest_file(path) for path in (root / "download").iterdir()} == {tool.sha256, common.sha256}
    apt(root, repository, architecture, "--download-only", "install", "tool")


def test_repository_has_exactly_the_debs(store: Store, debs: list[Deb], tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    export(store, [debs[3], *debs, debs[0]], repository)
    assert sorted(path.name for path in (repository / "pool").iterdir()) == sorted(pool_name(deb) for deb in debs)
    packages = (repository / "dists/trixie/main/binary-arm64/Packages").read_text()
    assert [line for line in packages.splitlines() if line.startswith("Package:")] == [
        "Package: common",
        "Package: tool",
    ]
    assert " and a longer text\n .\n in two paragraphs\n" in packages
    assert f"Filename: pool/tool_2.0+b1~rc-3_arm64.deb\nSize: {debs[1].size}\nSHA256: {debs[1].sha256}\n" in packages
    assert (repository / "pool" / pool_name(debs[0])).stat().st_ino == store.path(debs[0].sha256).stat().st_ino


def test_release(store: Store, debs: list[Deb], tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    digest = export(store, debs, repository)
    folder = repository / "dists/trixie"
    lines = (folder / "Release").read_text().splitlines()
    assert lines[:8] == [
        "Origin: Lichen",
        "Label: Lichen",
        "Suite: trixie",
        "Codename: trixie",
        "Date: Sat, 01 Jan 2000 00:00:00 GMT",
        "Architectures: amd64 arm64",
        "Components: main",
        "SHA256:",
    ]
    for line in lines[8:]:
        sha256, size, path = line.split()
        assert (digest_file(folder / path), (folder / path).stat().st_size) == (sha256, int(size))
    assert digest == digest_file(folder / "Release")


def test_same_debs_give_the_same_bytes(store: Store, debs: list[Deb], tmp_path: Path) -> None:
    first = export(store, debs, tmp_path / "first")
    assert export(store, debs[::-1], tmp_path / "second") == first
    packages = "dists/trixie/main/binary-amd64/Packages"
    assert (tmp_path / "first" / packages).read_bytes() == (tmp_path / "second" / packages).read_bytes()


def test_missing_and_changed_objects_are_reported_together_and_nothing_is_left(
    store: Store, debs: list[Deb], tmp_path: Path
) -> None:
    repository = tmp_path / "repository"
    before = export(store, debs[:1], repository)
    changed, missing = store.path(debs[2].sha256), store.path(debs[3].sha256)
    changed.chmod(0o644)
    changed.write_bytes(changed.read_bytes()[:-1] + b"?")
    missing.unlink()
    with pytest.raises(LichenError) as caught:
        export(store, debs, repository)
    told = {problem.what: problem.where for problem in caught.value.problems}
    assert told == {"a file in the store was changed": str(changed), "a file is not in the store": str(missing)}
    assert all(problem.why and problem.remedy for problem in caught.value.problems)
    # What was exported before is still whole.
    assert digest_file(repository / "dists/trixie/Release") == before
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("name", "version", "architecture"), [("tool", "1", "amd64"), ("other", "2", "amd64"), ("tool", "2", "all")]
)
def test_package_that_is_not_the_locked_one(
    store: Store, tmp_path: Path, name: str, version: str, architecture: str
) -> None:
    deb = stored(store, build(tmp_path, "tool", "2"), name, version, architecture)
    with pytest.raises(LichenError) as caught:
        export(store, [deb], tmp_path / "repository")
    [problem] = caught.value.problems
    assert problem.what == "a package is not the one that the lock names"
    assert problem.where == deb.path
    assert problem.why == f"it holds tool 2 amd64, the lock says {name} {version} {architecture}"
    assert "lichen lock" in problem.remedy
    assert not (tmp_path / "repository").exists()


def test_file_that_is_no_package(store: Store, tmp_path: Path) -> None:
    (tmp_path / "page").write_text("<html>please log in first</html>" * 9)
    with pytest.raises(LichenError) as caught:
        export(store, [stored(store, tmp_path / "page", "tool", "1")], tmp_path / "repository")
    [problem] = caught.value.problems
    assert problem.what == "dpkg-deb cannot read a locked package"
    assert problem.why.startswith("dpkg-deb: ")


def test_names_that_leave_the_pool_are_refused(store: Store, tmp_path: Path) -> None:
    deb = stored(store, build(tmp_path, "tool", "2"), "tool", "2").model_copy(update={"name": "../../tool"})
    with pytest.raises(LichenError, match="not a plain file name"):
        export(store, [deb], tmp_path / "repository")


def test_two_files_of_one_name_are_refused(store: Store, tmp_path: Path) -> None:
    both = [package(store, tmp_path, "tool", version) for version in ("1:2", "2")]
    with pytest.raises(LichenError, match="two files of one name"):
        export(store, both, tmp_path / "repository")


def test_wheels(store: Store, tmp_path: Path) -> None:
    content = b"a wheel"
    (tmp_path / "new").write_bytes(content)
    wheel = Wheel(
        name="small",
        version="1",
        filename="small-1-py3-none-any.whl",
        size=len(content),
        sha256=digest_bytes(content),
        uses=("image",),
    )
    with pytest.raises(LichenError) as caught:
        export_wheels(store, [wheel], tmp_path / "wheels")
    assert caught.value.problems[0].what == "a file is not in the store"
    store.insert(tmp_path / "new", wheel.sha256)
    export_wheels(store, [wheel, wheel], tmp_path / "wheels")
    assert [path.name for path in (tmp_path / "wheels").iterdir()] == [wheel.filename]
    assert (tmp_path / "wheels" / wheel.filename).read_bytes() == content
    with pytest.raises(MissingObjectError):
        store.verified("0" * 64, 1)


def test_killed_dpkg_deb_leaves_nothing(
    store: Store, debs: list[Deb], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It unpacks to a temporary folder and removes that only when it ends by itself."""
    tools = tmp_path / "tools"
    tools.mkdir()
    fake = tools / "dpkg-deb"
    fake.write_text("#!/bin/sh\nmktemp -d\nkill -KILL $$\n")
    fake.chmod(0o755)
    common = tmp_path / "common"
    common.mkdir()
    monkeypatch.setenv("TMPDIR", str(common))
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
        with pytest.raises(LichenError) as caught:
            export(store, debs, tmp_path / "exported")
    # Nothing is wrong with the package.
    assert {problem.what for problem in caught.value.problems} == {"dpkg-deb was ended by signal 9"}
    assert list(common.iterdir()) == []
    assert not (tmp_path / "exported").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    export(store, debs, tmp_path / "exported")
