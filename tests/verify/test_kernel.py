"""``lichen verify --kernel``: what is compared, and for which profiles. Whole kernels take hours, hence by hand."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from builder.data.variation import USUAL
from builder.foundation.errors import EXIT_BAD_INPUT
from builder.verbs import varied
from builder.verbs.varied import Event, Order
from builder.verbs.verify import compare_packages
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
    rows = {row.name: row for row in compare_packages(first, second)}
    assert list(rows) == ["gone.deb", "headers.deb", "image.deb", "new.deb"]
    assert [name for name, row in rows.items() if row.identical] == ["image.deb"]
    assert rows["image.deb"].first == hashlib.sha256(b"1").hexdigest()
    assert (rows["gone.deb"].second, rows["new.deb"].first) == (None, None)


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
    assert [row.identical for row in compare_packages(again, Path(event.text))] == [True, True]


def test_published_images_are_compared_whole(bench: MakeBench, lichen: Lichen) -> None:
    said = lichen(*arguments(bench(), "--kernel", "--against", "/nowhere"))
    assert said.code == EXIT_BAD_INPUT
    assert "--against builds on no other hosts" in said.err
