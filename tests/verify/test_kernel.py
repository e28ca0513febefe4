"""``lichen verify --kernel``: what is compared, and for which profiles. Whole kernels take hours, hence by hand."""

from __future__ import annotations

import hashlib
from pathlib import Path

from builder.foundation.errors import EXIT_BAD_INPUT
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


def test_published_images_are_compared_whole(bench: MakeBench, lichen: Lichen) -> None:
    said = lichen(*arguments(bench(), "--kernel", "--against", "/nowhere"))
    assert said.code == EXIT_BAD_INPUT
    assert "--against builds on no other hosts" in said.err
