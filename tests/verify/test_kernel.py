"""``lichen verify --kernel``: what is compared, and for which profiles. Whole kernels take hours, hence by hand."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from builder.data.variation import USUAL
from builder.foundation.errors import EXIT_BAD_INPUT
from builder.foundation.process import Runner
from builder.steps.compare import compare_packages
from builder.verbs import varied
from builder.verbs.varied import Event, Order
from tests.build.conftest import MakeBench
from tests.cli.conftest import Lichen
from tests.verify.test_verify import arguments


def packages(folder: Path, **contents: bytes) -> Path:
    for name, content in contents.items():
        path = folder / name / f"{name}.deb"
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    return folder


def test_every_package_of_either_side_has_a_row(tmp_path: Path) -> None:
    first = packages(tmp_path / "one", image=b"1", headers=b"2", gone=b"3")
    second = packages(tmp_path / "two", image=b"1", headers=b"changed", new=b"4")
    (second / "image/note").write_text("no package")
    compared, differences = compare_packages(first, second, Runner(), tmp_path / "scratch")
    rows = {row.name: row for row in compared}
    assert list(rows) == ["gone.deb", "headers.deb", "image.deb", "new.deb"]
    assert [name for name, row in rows.items() if row.identical] == ["image.deb"]
    assert rows["image.deb"].first == hashlib.sha256(b"1").hexdigest()
    assert (rows["gone.deb"].second, rows["new.deb"].first) == (None, None)
    assert [(item.artefact, item.what) for item in differences] == [
        ("gone.deb", "only in the first"),
        ("headers.deb", "content"),
        ("new.deb", "only in the second"),
    ]


@pytest.mark.parametrize("packing", ["none", "xz", "zstd"])
def test_what_differs_within_a_package_is_named(tmp_path: Path, packing: str) -> None:
    folders = []
    for name in ("one", "two"):
        tree = tmp_path / f"{name}.tree"
        for path, content in (
            ("DEBIAN/control", "Package: image\nVersion: 1\nArchitecture: all\nMaintainer: nobody\nDescription: d\n"),
            ("usr/lib/modules/a.ko", f"built on {name}"),
            ("usr/lib/modules/b.ko", "same"),
            (f"boot/only-{name}", "there"),
        ):
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_text(content)
        (tree / "usr/lib/modules/b.ko").chmod(0o600 if name == "two" else 0o644)
        (tree / "boot/link").symlink_to(f"only-{name}")
        folders.append(tmp_path / name)
        folders[-1].mkdir()
        words = ["dpkg-deb", "--root-owner-group", f"-Z{packing}", "--build", str(tree), str(folders[-1] / "image.deb")]
        subprocess.run(words, check=True, env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"})
    (row,), differences = compare_packages(folders[0], folders[1], Runner(), tmp_path / "scratch")
    assert not row.identical
    told = {(item.path, item.what) for item in differences}
    assert told == {
        ("data/usr/lib/modules/a.ko", "content"),
        ("data/usr/lib/modules/b.ko", "mode"),
        ("data/boot/link", "link target"),
        ("data/boot/only-one", "only in the first"),
        ("data/boot/only-two", "only in the second"),
    }
    (evidence,) = (item.evidence for item in differences if item.what == "content")
    assert "built on one" in evidence
    assert "built on two" in evidence


def test_package_that_cannot_be_read_is_compared_as_it_is(tmp_path: Path) -> None:
    head = b"!<arch>\ndebian-binary   0           0     0     100644  4         `\n2.0\n"
    first = packages(tmp_path / "one", image=head + b"no member")
    second = packages(tmp_path / "two", image=head + b"another..")
    (row,), (difference,) = compare_packages(first, second, Runner(), tmp_path / "scratch")
    assert not row.identical
    assert (difference.artefact, difference.path, difference.what) == ("image.deb", "", "content")
    assert "no member" in difference.evidence


def test_kernel_that_debian_built_is_refused(bench: MakeBench, lichen: Lichen) -> None:
    said = lichen(*arguments(bench(), "--kernel"))
    assert said.code == EXIT_BAD_INPUT
    assert "this profile has no kernel of its own" in said.err


def test_other_host_builds_the_kernel_alone(bench: MakeBench) -> None:
    """The order reaches the kernel's own verb, which has none to build here; an image could be built."""
    made = bench()
    order = Order(
        project=str(made.project.root),
        cache=str(made.cache.root),
        profile="small",
        architecture="amd64",
        circumstances=USUAL,
        kernel=True,
    )
    words = [sys.executable, "-m", "builder.verbs.varied", order.model_dump_json()]
    said = subprocess.run(words, stdout=subprocess.PIPE, check=True).stdout
    event = Event.model_validate_json(said.splitlines()[-1])
    assert event.kind == "wrong"
    assert event.problems[0]["what"] == "this profile has no kernel of its own"


def test_packages_outlive_the_disk_of_the_other_hosts_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is mounted where only that build sees it."""
    cache = tmp_path / "cache"
    kept = packages(cache / "components/modules/key/modules", image=b"1", headers=b"2")
    monkeypatch.setattr(varied, "kernel_packages", lambda *_: kept)
    order = Order(
        project=str(tmp_path / "project"),
        cache=str(cache),
        profile="own",
        architecture="amd64",
        circumstances=USUAL,
        kernel=True,
    )
    varied.main(order)
    event = Event.model_validate_json(capfd.readouterr().out.splitlines()[-1])
    shutil.rmtree(cache)
    again = packages(tmp_path / "again", image=b"1", headers=b"2")
    compared, differences = compare_packages(again, Path(event.text), Runner(), tmp_path / "scratch")
    assert [row.identical for row in compared] == [True, True]
    assert differences == ()


def test_published_images_are_compared_whole(bench: MakeBench, lichen: Lichen) -> None:
    said = lichen(*arguments(bench(), "--kernel", "--against", "/nowhere"))
    assert said.code == EXIT_BAD_INPUT
    assert "--against builds on no other hosts" in said.err
