"""Each file of an image and whose it is; installed is what was locked, or the build fails."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from builder.data.contents import FileEntry, contents_text, read_contents
from builder.data.lock import Lock, Wheel, read_lock
from builder.foundation.errors import InputError, LichenError
from builder.steps.contents import (
    deb_owners,
    require_database,
    require_wheels,
    wheel_owners,
    with_owners,
)
from tests.conftest import CLASSROOM, REPOSITORY
from tests.sbom.madeup import SITE, inventory, put

PREFIX = "/opt/ai"


def owners(root: Path, output: Path) -> dict[str, str]:
    later = {"/etc/motd": "overlay:greeting"}
    models = {"/opt/models/tiny.bin": "model:tiny"}
    known = [models, later, wheel_owners(root, PREFIX), deb_owners(root)]
    return {entry.path: entry.owner for entry in with_owners(inventory(root, output), known)}


def test_owners(root: Path, tmp_path: Path) -> None:
    found = owners(root, tmp_path / "out")
    assert found["/usr"] == "deb:one"  # of several the first
    assert found["/usr/lib/libone.so"] == "deb:one"  # by its old name, through the link /lib
    assert found["/usr/lib/libone.so.real"] == "deb:two3.13"  # diverted
    assert found["/usr/lib/python3/__pycache__/mod.cpython-313.pyc"] == "deb:two3.13"
    assert found["/var/lib/dpkg/info/two3.13:amd64.postinst"] == "deb:two3.13"
    assert found["/etc/motd"] == "overlay:greeting"  # though a package had it first
    assert found["/opt/models/tiny.bin"] == "model:tiny"
    assert found["/opt/ai/bin/tool"] == "wheel:some-tool"
    assert found[f"/{SITE}/tool/__pycache__/__init__.cpython-313.pyc"] == "wheel:some-tool"
    built = {path for path, owner in found.items() if owner == "build"}
    assert {"/lib", "/etc/ld.so.cache", "/opt/ai/pyvenv.cfg", "/var/lib/dpkg/status"} < built
    assert "/gone" not in found


def test_inventory(root: Path, tmp_path: Path) -> None:
    os.symlink(b"somewhere/\xff", os.fsencode(root) + b"/usr/bin/l\xc3\xb6ve\xff")
    found = {entry.path: entry for entry in inventory(root, tmp_path / "out")}
    content = b"root's"
    sudo = FileEntry(
        path="/usr/bin/sudo",
        kind="file",
        mode=0o4755,
        uid=os.getuid(),
        gid=os.getgid(),
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        sha1=hashlib.sha1(content).hexdigest(),
    )
    assert found["/usr/bin/sudo"] == sudo
    assert (found["/usr/bin/löve\\xff"].kind, found["/usr/bin/löve\\xff"].link) == ("link", "somewhere/\\xff")
    assert found["/var/tmp"].kind == "folder"
    # What systemd-repart does not copy into the root partition.
    assert not {"/proc/1", "/boot/loader", "/var/tmp/left", "/work", "/work/src"} & set(found)


def test_inventory_is_the_same_again(root: Path, tmp_path: Path) -> None:
    """In whatever order the file system lists a folder, and wherever the tree lies."""
    other = tmp_path / "elsewhere"
    other.mkdir()
    for path in sorted(root.iterdir(), reverse=True):
        if path.is_dir() and not path.is_symlink():
            shutil.copytree(path, other / path.name, symlinks=True)
        else:
            shutil.copy2(path, other / path.name, follow_symlinks=False)
    first, second = inventory(root, tmp_path / "one"), inventory(other, tmp_path / "two")
    assert (tmp_path / "one/inventory.jsonl").read_bytes() == (tmp_path / "two/inventory.jsonl").read_bytes()
    assert contents_text(first) == contents_text(reversed(second))
    # In fact sorted: one file system may list both in the same order.
    assert [entry.path for entry in first] == sorted(entry.path for entry in first)


def test_file_is_read_as_it_was_written(root: Path, tmp_path: Path) -> None:
    entries = with_owners(inventory(root, tmp_path / "out"), [deb_owners(root)])
    # Bills of materials list what no package brought, and want this of it.
    assert {entry.owner for entry in entries if entry.sha1} == {"build"}
    path = tmp_path / "contents.jsonl"
    path.write_text(contents_text(entries), encoding="utf-8")
    assert list(read_contents(path)) == sorted(entries, key=lambda entry: entry.path)


def test_damaged_contents(tmp_path: Path) -> None:
    path = put(tmp_path, "contents.jsonl", '{"path": "/etc", "kind": "fol')
    with pytest.raises(InputError) as caught:
        list(read_contents(path))
    assert caught.value.problems[0].what == "the image's list of files cannot be read"


def locked(*wheels: tuple[str, str]) -> Lock:
    real = read_lock(REPOSITORY.lock(CLASSROOM, "amd64"))
    made = [
        Wheel(name=name, version=version, filename=f"{name}.whl", size=1, sha256="0" * 64, uses=("image",))
        for name, version in wheels
    ]
    return real.model_copy(update={"wheels": tuple(made)})


def test_installed_wheels_are_the_locked_ones(root: Path, tmp_path: Path) -> None:
    entries = inventory(root, tmp_path / "out")
    require_wheels(entries, locked(("some-tool", "1.0.post1")), PREFIX)
    require_wheels(entries, locked(), "/opt/other")
    with pytest.raises(LichenError) as caught:
        require_wheels(entries, locked(("some-tool", "1.1"), ("missing", "2")), PREFIX)
    told = [(problem.what, problem.why) for problem in caught.value.problems]
    assert told == [
        ("installed and locked wheels differ: missing", "locked 2, installed nothing"),
        ("installed and locked wheels differ: some-tool", "locked 1.1, installed 1.0.post1"),
    ]
    with pytest.raises(LichenError) as caught:
        require_wheels(entries, locked(), PREFIX)
    assert caught.value.problems[0].why == "locked nothing, installed 1.0.post1"


def test_package_database_holds_the_base_and_what_was_built(root: Path, tmp_path: Path) -> None:
    status = root / "var/lib/dpkg/status"
    stanza = "Package: {}\nStatus: install ok installed\nVersion: {}\nArchitecture: amd64\n"
    base = tmp_path / "base"
    put(base, "var/lib/dpkg/status", stanza.format("one", "1"))

    def check(kernel: str = "", text: str = stanza.format("one", "1")) -> None:
        put(root, "var/lib/dpkg/status", text)
        (some, *_) = read_lock(REPOSITORY.lock(CLASSROOM, "amd64")).used_by("image")
        built = some.model_copy(update={"name": kernel, "version": "6", "architecture": "amd64"})
        debs = [built] if kernel else []
        require_database(inventory(root, tmp_path / "out"), base, status, debs)

    check()
    check("linux-image-own", f"{stanza.format('one', '1')}\n{stanza.format('linux-image-own', '6')}")
    for kernel, text, wrong in (
        ("", stanza.format("one", "2"), "one"),
        ("", f"{stanza.format('one', '1')}\n{stanza.format('two', '1')}", "two"),
        ("linux-image-own", stanza.format("one", "1"), "linux-image-own"),
    ):
        with pytest.raises(LichenError) as caught:
            check(kernel, text)
        (problem,) = caught.value.problems
        assert (problem.where, problem.why) == (
            "/var/lib/dpkg/status",
            f"it differs from what was installed in {wrong}",
        )
    with pytest.raises(LichenError, match="it is gone"):
        require_database([], base, status, [])
