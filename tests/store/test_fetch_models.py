"""Models come from a URL or from a file within a wheel; what they are is said by the lock's hash alone."""

from __future__ import annotations

import io
import random
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.data.lock import LockedModel
from builder.foundation.digest import digest_bytes
from builder.foundation.errors import InputError, LichenError
from builder.foundation.store import Store
from builder.foundation.transport import Limits
from builder.steps.fetch import Sources, fetch, transfer
from tests.lock.wheelindex import Index

from . import mirror as faulty
from .conftest import Recorder
from .mirror import Fault, Mirror

QUICK = Limits(connect=5, silence=0.4, pause=0.01)
CONTENT = random.Random(3).randbytes(300_000)
MODEL = LockedModel(name="tiny", sha256=digest_bytes(CONTENT), size=len(CONTENT), target="/usr/share/tiny.bin")
MEMBER = "tiny/data/weights 1.bin"
SOURCE = f"pypi:Tiny_Model==1.0/{MEMBER}"
PURE = "tiny_model-1.0-py3-none-any.whl"


def bring(store: Store, source: str, *indexes: str) -> None:
    fetch(store, [MODEL], Sources({}, indexes, {"tiny": source}), Recorder(), QUICK)


def assert_there(store: Store) -> None:
    assert store.verified(MODEL.sha256, MODEL.size).read_bytes() == CONTENT
    assert list((store.root / "partial").iterdir()) == []


def packed(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


@pytest.fixture
def index(mirror: Mirror) -> Index:
    return Index(mirror)


def why(store: Store, index: Index) -> str:
    """What the failure of the only place says; nothing is left of it."""
    with pytest.raises(LichenError) as caught:
        bring(store, SOURCE, index.url)
    [problem] = caught.value.problems
    assert (problem.what, problem.where) == ("cannot download a locked file", "model tiny")
    place, _, told = problem.why.partition(": ")
    assert place == index.url
    assert list(store.objects()) == []
    assert all(entry.size == 0 for entry in store.partials())
    return told


def test_from_a_url(store: Store, mirror: Mirror) -> None:
    mirror.files["/models/tiny.bin"] = CONTENT
    mirror.faults["/models/tiny.bin"] = [faulty.half_of_the_rest]
    bring(store, f"{mirror.url}/models/tiny.bin")
    assert_there(store)
    assert mirror.requests[1].range.startswith("bytes=")  # large ones are not begun anew


def test_from_a_file(store: Store, tmp_path: Path) -> None:
    (tmp_path / "a model").write_bytes(CONTENT)
    bring(store, (tmp_path / "a model").as_uri())
    assert_there(store)


def test_from_a_wheel_the_pure_one_first(store: Store, index: Index) -> None:
    for tag in ("cp313-cp313-macosx_11_0_arm64", "cp313-cp313-manylinux_2_28_x86_64"):
        index.put("tiny-model", f"tiny_model-1.0-{tag}.whl", packed({"other": b""}))
    index.put("tiny-model", "tiny_model-1.0.1-py3-none-any.whl", packed({MEMBER: b"a later version"}))
    index.put("tiny-model", "tiny_model-1.0.tar.gz", b"a source archive")
    index.put("tiny-model", PURE, packed({"tiny/__init__.py": b"", MEMBER: CONTENT}))
    bring(store, SOURCE, index.url)
    assert_there(store)
    assert [request.path for request in index.mirror.requests] == ["/simple/tiny-model/", f"/simple/files/{PURE}"]


def test_any_platform_will_do(store: Store, index: Index) -> None:
    name = "tiny_model-1.0.0-cp39-cp39-macosx_11_0_arm64.whl"  # 1.0.0 is 1.0
    index.put("tiny-model", name, packed({MEMBER: CONTENT}))
    bring(store, SOURCE, index.url)
    assert_there(store)


def test_folder_of_wheels(store: Store, tmp_path: Path) -> None:
    (tmp_path / "simple/tiny-model").mkdir(parents=True)
    (tmp_path / "simple/tiny-model/index.html").write_text(f'<a href="../../{PURE}">x</a>')
    (tmp_path / PURE).write_bytes(packed({MEMBER: CONTENT}))
    bring(store, SOURCE, (tmp_path / "simple").as_uri())
    assert_there(store)


def test_next_index_is_asked(store: Store, index: Index, second: Mirror) -> None:
    index.put("tiny-model", PURE, packed({MEMBER: CONTENT[:-1] + b"?"}))
    other = Index(second)
    other.put("tiny-model", PURE, packed({MEMBER: CONTENT}))
    bring(store, SOURCE, index.url, other.url)
    assert_there(store)


@pytest.mark.parametrize("fault", [faulty.truncated, faulty.reset, faulty.silent, faulty.status(503)])
def test_wheel_that_breaks_off_is_begun_anew(store: Store, index: Index, fault: Fault) -> None:
    index.put("tiny-model", PURE, packed({MEMBER: CONTENT}))
    index.mirror.faults[f"/simple/files/{PURE}"] = [fault]
    bring(store, SOURCE, index.url)
    assert_there(store)
    assert {request.range for request in index.mirror.requests} == {""}


def encrypted() -> bytes:
    """A wheel whose member says that it is encrypted."""
    data = bytearray(packed({MEMBER: CONTENT}))
    data[6] |= 1  # in the local header, and in the central directory
    data[data.index(b"PK\1\2") + 8] |= 1
    return bytes(data)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (packed({"tiny/other": CONTENT}), f"{PURE} has no file {MEMBER}"),
        (packed({MEMBER: CONTENT[:-1] + b"?"}), "other bytes: sha256 "),
        (packed({MEMBER: CONTENT[:-1]}), "another file: 299999 bytes, locked are 300000"),
        (packed({MEMBER: bytes(1 << 28)}), "another file: 268435456 bytes, locked are 300000"),
        (b"no zip at all", f"{PURE} cannot be read: File is not a zip file"),
        (b"", f"{PURE} cannot be read: File is not a zip file"),
        (packed({MEMBER: CONTENT})[1000:], f"{PURE} cannot be read: "),
        (encrypted(), f"{PURE} cannot be read: "),
    ],
    ids=["no-member", "other-bytes", "shorter", "bomb", "no-zip", "empty", "beheaded", "encrypted"],
)
def test_faulty_wheel(store: Store, index: Index, content: bytes, told: str) -> None:
    index.put("tiny-model", PURE, content)
    assert why(store, index).startswith(told)
    index.put("tiny-model", PURE, packed({MEMBER: CONTENT}))
    bring(store, SOURCE, index.url)
    assert_there(store)


def test_wheel_without_end(store: Store, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "LARGEST_WHEEL", 1 << 20)
    index.put("tiny-model", PURE, packed({MEMBER: CONTENT}))
    index.mirror.faults[f"/simple/files/{PURE}"] = [faulty.endless]
    assert why(store, index) == "its wheel has more than 1048576 bytes"


def test_wheel_that_does_not_fit(small_disk: Path, index: Index) -> None:
    """It has other files too, and takes more room than the model."""
    store = Store(small_disk)
    index.put("tiny-model", PURE, packed({MEMBER: CONTENT, "more": random.Random(5).randbytes(1 << 20)}))
    with pytest.raises(LichenError) as caught:
        bring(store, SOURCE, index.url)
    [problem] = caught.value.problems
    assert (problem.what, problem.where) == ("the disk is full", str(small_disk))
    assert list(store.objects()) == []
    subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)
    bring(store, SOURCE, index.url)
    assert_there(store)


@pytest.mark.parametrize(
    ("offer", "told"),
    [
        (lambda index: index.put("tiny-model", "tiny_model-2.0-py3-none-any.whl", b""), "lists no wheel of 1.0"),
        (lambda index: index.put("tiny-model", "strange.whl", b""), "lists no wheel of 1.0"),
        (lambda index: None, "HTTP 404 Not Found"),
    ],
    ids=["other-version", "strange-name", "no-project"],
)
def test_index_without_the_wheel(store: Store, index: Index, offer: Callable[[Index], None], told: str) -> None:
    offer(index)
    assert why(store, index).endswith(told)


def test_model_without_source_is_bad_input(store: Store) -> None:
    with pytest.raises(InputError) as caught:
        fetch(store, [MODEL], Sources({}), Recorder())
    [problem] = caught.value.problems
    assert problem.what == "no source of the model 'tiny' is known"
    assert "models.tiny.source" in problem.remedy


def test_wheel_without_index_is_bad_input(store: Store) -> None:
    with pytest.raises(InputError, match="no index of wheels is known") as caught:
        bring(store, SOURCE)
    assert caught.value.problems[0].where == "model tiny"
