"""Downloads against mirrors that do everything wrong that mirrors do."""

from __future__ import annotations

import random
import shutil
import socket
from pathlib import Path

import pytest

from builder.data.lock import Deb
from builder.foundation import transport
from builder.foundation.errors import InputError, LichenError
from builder.foundation.store import Store
from builder.foundation.transport import Limits
from builder.steps.fetch import Sources, fetch

from . import mirror as faulty
from .conftest import Recorder
from .mirror import Fault, Mirror

QUICK = Limits(jobs=4, connect=5, silence=0.4, attempts=3, pause=0.01)
CONTENT = random.Random(1).randbytes(400_000)


def bring(store: Store, files: list[Deb], *mirrors: Mirror, recorder: Recorder | None = None) -> None:
    sources = Sources({"debian": [mirror.url for mirror in mirrors]})
    fetch(store, files, sources, recorder or Recorder(), QUICK)


def content(store: Store, deb: Deb) -> bytes:
    return store.verified(deb.sha256, deb.size).read_bytes()


def assert_nothing_half_written(store: Store) -> None:
    """No object whose bytes are not those of its name."""
    for entry in store.objects():
        store.verified(entry.sha256, entry.size)


def test_many_files_arrive_and_progress_ends_at_the_total(store: Store, mirror: Mirror, recorder: Recorder) -> None:
    debs = [mirror.add(CONTENT[: 1000 * n], f"tool{n}") for n in range(1, 30)]
    bring(store, debs, mirror, recorder=recorder)
    assert all(content(store, deb) == CONTENT[: deb.size] for deb in debs)
    total = sum(deb.size for deb in debs)
    assert recorder.counts[-1] == (total, total)
    assert recorder.ended == [("download", False)]
    assert list(store.partials()) == []
    assert oct(store.path(debs[0].sha256).stat().st_mode)[-3:] == "444"


def test_what_is_there_is_not_asked_for_again(store: Store, mirror: Mirror) -> None:
    deb = mirror.add(CONTENT)
    bring(store, [deb, deb], mirror)
    bring(store, [deb], mirror)
    assert len(mirror.requests) == 1


def test_paths_are_escaped(store: Store, mirror: Mirror) -> None:
    deb = mirror.add(CONTENT, "g++", "1.0~rc1+b%3a1")
    bring(store, [deb], mirror)
    assert content(store, deb) == CONTENT


@pytest.mark.parametrize(
    "faults",
    [
        [faulty.status(500), faulty.status(503)],
        [faulty.reset, faulty.reset],
        [faulty.truncated, faulty.ignores_range],
        [faulty.truncated, faulty.refuses_range],
        [faulty.truncated, faulty.other_range],
        [faulty.truncated, faulty.wrong_continuation],
        [faulty.half_of_the_rest] * 3,
        [faulty.silent],
    ],
    ids=lambda faults: "-".join(getattr(fault, "__name__", "status") for fault in faults),
)
def test_passing_fault_is_overcome_on_the_same_mirror(store: Store, mirror: Mirror, faults: list[Fault]) -> None:
    deb = mirror.add(CONTENT)
    mirror.faults[f"/{deb.path}"] = list(faults)
    bring(store, [deb], mirror)
    assert content(store, deb) == CONTENT
    assert list(store.partials()) == []


PERMANENT = {
    "404": (faulty.status(404), "HTTP 404 Not Found"),
    "403": (faulty.status(403), "HTTP 403 Forbidden"),
    "wrong-bytes": (faulty.wrong_bytes, "other bytes: sha256 "),
    "shorter": (faulty.shorter, "another file: 399999 bytes, locked are 400000"),
    "endless": (faulty.endless, "another file: more than the locked 400000 bytes"),
}
LASTING = {
    "500": (faulty.status(500), "HTTP 500 Internal Server Error"),
    "truncated": (faulty.truncated, "the connection broke off after 196608 of 400000 bytes"),
    "silent": (faulty.silent, "silent for 0.4 s"),
    "reset": (faulty.reset, "of 400000 bytes"),
}


@pytest.mark.parametrize("name", [*PERMANENT, *LASTING])
def test_faulty_mirror_leads_to_the_next(store: Store, mirror: Mirror, second: Mirror, name: str) -> None:
    mirror.always = {**PERMANENT, **LASTING}[name][0]
    deb = mirror.add(CONTENT)
    second.add(CONTENT)
    bring(store, [deb], mirror, second)
    assert content(store, deb) == CONTENT
    assert len(second.requests) == 1


@pytest.mark.parametrize("name", [*PERMANENT, *LASTING])
def test_fault_of_every_mirror_is_one_clear_error_and_the_next_run_works(
    store: Store, mirror: Mirror, second: Mirror, recorder: Recorder, name: str
) -> None:
    fault, reason = {**PERMANENT, **LASTING}[name]
    deb, fine = mirror.add(CONTENT), mirror.add(CONTENT[:99], "fine")
    mirror.faults[f"/{deb.path}"] = [fault] * 9
    with pytest.raises(LichenError) as caught:
        bring(store, [deb, fine], mirror, second, recorder=recorder)
    assert caught.value.exit_code == 1
    [problem] = caught.value.problems
    assert problem.what == "cannot download a locked file"
    assert problem.where == "tool 1.0 amd64"
    first_reason, second_reason = problem.why.splitlines()
    assert first_reason.startswith(f"{mirror.url}: ")
    assert reason in first_reason
    assert second_reason == f"{second.url}: HTTP 404 Not Found"
    assert "--mirror" in problem.remedy
    asked = len(mirror.requests) - 1  # without the request for the other file
    assert asked == 1 if name in PERMANENT else asked >= QUICK.attempts
    assert recorder.ended == [("download", True)]
    assert not store.has(deb.sha256, deb.size)
    assert content(store, fine) == CONTENT[:99]
    assert_nothing_half_written(store)
    mirror.faults.clear()
    bring(store, [deb, fine], mirror, second)
    assert content(store, deb) == CONTENT


def test_mirror_that_is_down_names_every_file_once(store: Store, second: Mirror) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        down = f"http://127.0.0.1:{unused.getsockname()[1]}"
    debs = [faulty.locked(CONTENT[:n], f"tool{n}") for n in range(1, 40)]
    with pytest.raises(LichenError) as caught:
        fetch(store, debs, Sources({"debian": [down]}), Recorder(), QUICK)
    named = [line for problem in caught.value.problems for line in problem.where.splitlines()]
    assert sorted(named) == sorted(f"tool{n} 1.0 amd64" for n in range(1, 40))
    assert all("Connection refused" in problem.why for problem in caught.value.problems)
    # After enough failures in a row the mirror is left alone: not three attempts for each of many files.
    assert any("given up after" in problem.why for problem in caught.value.problems)
    for deb in debs:
        second.add(CONTENT[: deb.size], deb.name)
    bring(store, debs, second)


def test_silent_mirror_is_asked_last_once_it_was_silent(store: Store, mirror: Mirror, second: Mirror) -> None:
    mirror.always = faulty.silent
    debs = [second.add(CONTENT[:n], f"tool{n}") for n in range(1, 60)]
    bring(store, debs, mirror, second)
    assert len(mirror.requests) <= QUICK.jobs
    assert all(store.has(deb.sha256, deb.size) for deb in debs)


def test_archive_without_mirror_is_bad_input(store: Store) -> None:
    deb = faulty.locked(CONTENT).model_copy(update={"archive": "debian-security"})
    with pytest.raises(InputError) as caught:
        fetch(store, [deb], Sources({"debian": ["file:///nowhere"]}), Recorder())
    [problem] = caught.value.problems
    assert problem.what == "no mirror of the archive 'debian-security' is known"
    assert "--mirror debian-security=URL" in problem.remedy
    assert caught.value.exit_code == 2


def test_changed_object_is_noted_and_fetched_anew(store: Store, mirror: Mirror, recorder: Recorder) -> None:
    deb = mirror.add(CONTENT)
    bring(store, [deb], mirror)
    path = store.path(deb.sha256)
    path.chmod(0o644)
    path.write_bytes(CONTENT[:-1] + b"?")
    bring(store, [deb], mirror, recorder=recorder)
    assert content(store, deb) == CONTENT
    [note] = recorder.notes
    assert "tool 1.0 amd64: a file in the store was changed: its sha256 is " in note
    assert len(mirror.requests) == 2


def test_partial_file_of_another_content_is_replaced(store: Store, mirror: Mirror) -> None:
    deb = mirror.add(CONTENT)
    partial = store.root / "partial" / deb.sha256
    partial.parent.mkdir(parents=True)
    for left in (b"x" * 1000, b"x" * deb.size, b"x" * (deb.size + 1)):
        partial.write_bytes(left)
        bring(store, [deb], mirror)
        assert content(store, deb) == CONTENT
        store.path(deb.sha256).unlink()


def test_folder_serves_as_mirror(store: Store, tmp_path: Path) -> None:
    deb = faulty.locked(CONTENT, "g++", "1.0~rc1")
    path = tmp_path / "a mirror" / deb.path
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT[:-1])
    sources = Sources({"debian": [(tmp_path / "a mirror").as_uri()]})
    with pytest.raises(LichenError, match="cut off after 399999 of 400000 bytes"):
        fetch(store, [deb], sources, Recorder(), QUICK)
    path.write_bytes(CONTENT)
    fetch(store, [deb], sources, Recorder(), QUICK)
    assert content(store, deb) == CONTENT
    shutil.rmtree(store.root)
    path.unlink()
    with pytest.raises(LichenError, match="No such file or directory"):
        fetch(store, [deb], sources, Recorder(), QUICK)


def test_session_trusts_what_the_machine_trusts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An administrator's own authority, added to the system's bundle, holds for downloads as it does for apt."""
    bundle, named = tmp_path / "system.crt", tmp_path / "named.crt"
    for path in (bundle, named):
        path.touch()
    monkeypatch.setattr(transport, "SYSTEM_CERTIFICATES", str(bundle))
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    assert transport.connect().verify == str(bundle)
    monkeypatch.setenv("SSL_CERT_FILE", str(named))
    assert transport.connect().verify == str(named)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing"))
    bundle.unlink()
    assert transport.connect().verify is True
