from __future__ import annotations

import threading
from pathlib import Path

import pytest

from builder.foundation.digest import digest_bytes
from builder.foundation.errors import LichenError
from builder.foundation.store import MissingObjectError, Store, WrongContentError

CONTENT = b"some package"
SHA256 = digest_bytes(CONTENT)


def written(path: Path, content: bytes = CONTENT) -> Path:
    path.write_bytes(content)
    return path


def test_insert_moves_the_file(store: Store, tmp_path: Path) -> None:
    path = store.insert(written(tmp_path / "new"), SHA256)
    assert path == store.root / "sha256" / SHA256[:2] / SHA256
    assert store.verified(SHA256, len(CONTENT)) == path
    assert not (tmp_path / "new").exists()
    assert oct(path.stat().st_mode)[-3:] == "444"


def test_insert_from_another_file_system(store: Store) -> None:
    with_shm = Path("/dev/shm")
    store.root.mkdir()
    if not with_shm.is_dir() or with_shm.stat().st_dev == store.root.stat().st_dev:
        pytest.skip("/dev/shm is no other file system here")
    source = written(with_shm / f"lichen-test-{SHA256}")
    try:
        store.insert(source, SHA256)
        assert not source.exists()
    finally:
        source.unlink(missing_ok=True)
    assert store.has(SHA256, len(CONTENT))
    assert list(store.partials()) == []


def test_insert_refuses_other_bytes(store: Store, tmp_path: Path) -> None:
    source = written(tmp_path / "new", b"other")
    with pytest.raises(WrongContentError) as caught:
        store.insert(source, SHA256)
    assert caught.value.actual == digest_bytes(b"other")
    assert caught.value.problems[0].where == str(source)
    assert source.exists()
    assert list(store.objects()) == []


def test_missing_object(store: Store) -> None:
    with pytest.raises(MissingObjectError) as caught:
        store.verified(SHA256, 1)
    assert not caught.value.changed
    [problem] = caught.value.problems
    assert (problem.what, problem.where) == ("a file is not in the store", str(store.path(SHA256)))
    assert problem.remedy


@pytest.mark.parametrize(("content", "why"), [(b"some packagf", "its sha256 is "), (b"some", "it has 4 bytes instead")])
def test_changed_object_is_removed_and_then_missing(store: Store, tmp_path: Path, content: bytes, why: str) -> None:
    path = store.insert(written(tmp_path / "new"), SHA256)
    path.chmod(0o644)
    path.write_bytes(content)
    with pytest.raises(MissingObjectError) as caught:
        store.verified(SHA256, len(CONTENT))
    assert caught.value.changed
    [problem] = caught.value.problems
    assert problem.what == "a file in the store was changed"
    assert problem.where == str(path)
    assert why in problem.why
    assert "run the command again" in problem.remedy
    assert list(store.objects()) == list(store.partials()) == []
    with pytest.raises(MissingObjectError) as caught:
        store.verified(SHA256, len(CONTENT))
    assert not caught.value.changed


def test_listing_and_removing(store: Store, tmp_path: Path) -> None:
    store.insert(written(tmp_path / "new"), SHA256)
    store.derived("control", SHA256, lambda: "text")
    [entry] = store.objects()
    assert (entry.sha256, entry.size) == (SHA256, len(CONTENT))
    assert store.remove(entry)
    assert store.remove(entry)  # already gone
    assert list(store.objects()) == []
    assert list(store.root.glob("derived/*/*")) == []


def test_download_under_way_is_not_removed(store: Store) -> None:
    with store.partial(SHA256, len(CONTENT), threading.Event()) as partial:
        assert partial
        partial.append(CONTENT[:3])
        [entry] = store.partials()
        assert entry.size == 3
        assert not store.remove(entry)
    assert store.remove(entry)
    assert list(store.partials()) == []


def test_download_of_which_nothing_came_leaves_nothing(store: Store) -> None:
    with store.partial(SHA256, len(CONTENT), threading.Event()) as partial:
        assert partial
    assert list(store.partials()) == []
    with store.partial(SHA256, len(CONTENT), threading.Event()) as partial:
        assert partial
        partial.append(CONTENT[:1])
    assert [entry.size for entry in store.partials()] == [1]


def test_waiting_for_another_download_can_be_stopped(store: Store) -> None:
    stop = threading.Event()
    with (
        store.partial(SHA256, 9, threading.Event()) as holder,
        store.partial(SHA256, 9, stop, waiting=stop.set) as waiter,
    ):
        assert holder
        assert waiter is None


def test_derived_text_is_made_once_and_again_when_damaged(store: Store) -> None:
    made: list[int] = []

    def make() -> str:
        made.append(1)
        return "a\nstanza\n"

    assert store.derived("control", SHA256, make) == store.derived("control", SHA256, make) == "a\nstanza\n"
    assert len(made) == 1
    path = store.root / "derived/control" / SHA256
    whole = path.read_bytes()
    for count, damaged in enumerate((whole.replace(b"stanza", b"stanzb"), whole[:-3], whole[:9], b""), start=2):
        path.write_bytes(damaged)
        assert store.derived("control", SHA256, make) == "a\nstanza\n"
        assert len(made) == count
    assert list(path.parent.iterdir()) == [path]


def test_store_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with (
        pytest.raises(LichenError) as caught,
        Store(tmp_path / "file").partial(SHA256, 1, threading.Event()),
    ):
        pass
    [problem] = caught.value.problems
    assert problem.what == "cannot write"
    assert problem.why == "Not a directory"
    assert "LICHEN_CACHE" in problem.remedy
