"""Places that are asked only for what no mirror has, and what is said when nobody has it."""

from __future__ import annotations

import pytest

from builder.foundation.store import Store
from builder.foundation.transport import Limits
from builder.steps.fetch import AbsentError, Sources, fetch

from . import mirror as faulty
from .conftest import Recorder
from .mirror import Fault, Mirror

QUICK = Limits(jobs=4, connect=5, silence=0.4, attempts=3, pause=0.01)
CONTENT = b"a package that was replaced" * 100


def sources(*mirrors: Mirror, last: Mirror) -> Sources:
    return Sources({"debian": [mirror.url for mirror in mirrors]}, fallbacks={"debian": [last.url]})


def test_asked_for_what_mirrors_dropped_alone(store: Store, mirror: Mirror, second: Mirror) -> None:
    kept, dropped = mirror.add(CONTENT, "kept"), second.add(CONTENT + b"!", "dropped")
    fetch(store, [kept, dropped], sources(mirror, last=second), Recorder(), QUICK)
    assert store.has(kept.sha256, kept.size)
    assert store.has(dropped.sha256, dropped.size)
    assert [request.path for request in second.requests] == [f"/{dropped.path}"]


def test_mirror_that_comes_back_is_preferred(store: Store, mirror: Mirror, second: Mirror) -> None:
    deb = mirror.add(CONTENT)
    second.add(CONTENT)
    mirror.faults[f"/{deb.path}"] = [faulty.status(503), faulty.reset]
    fetch(store, [deb], sources(mirror, last=second), Recorder(), QUICK)
    assert second.requests == []


def test_asked_when_every_mirror_is_down(store: Store, mirror: Mirror, second: Mirror) -> None:
    mirror.always = faulty.status(503)
    deb = second.add(CONTENT)
    fetch(store, [deb], sources(mirror, last=second), Recorder(), QUICK)
    assert store.has(deb.sha256, deb.size)


def test_paths_need_no_pool(store: Store, mirror: Mirror) -> None:
    """Flat repositories, as vendors have them, keep packages anywhere."""
    deb = faulty.locked(CONTENT).model_copy(update={"archive": "vendor", "path": "./amd64/tool+x_1.0_amd64.deb"})
    mirror.files["/repo/amd64/tool+x_1.0_amd64.deb"] = CONTENT
    fetch(store, [deb], Sources({"vendor": [f"{mirror.url}/repo"]}), Recorder(), QUICK)
    assert store.has(deb.sha256, deb.size)


@pytest.mark.parametrize(
    ("fault", "dropped"),
    [
        (faulty.status(404), True),
        (faulty.wrong_bytes, True),
        (faulty.status(503), False),
        (faulty.silent, False),
    ],
    ids=["404", "other-bytes", "503", "silent"],
)
def test_gone_or_out_of_reach(store: Store, mirror: Mirror, second: Mirror, fault: Fault, dropped: bool) -> None:
    deb = mirror.add(CONTENT)
    mirror.always = fault
    with pytest.raises(AbsentError) as caught:
        fetch(store, [deb], sources(mirror, last=second), Recorder(), QUICK)
    [absent] = caught.value.absent
    assert (absent.file, absent.dropped) == (deb, dropped)
    assert [reason.partition(": ")[0] for reason in absent.reasons] == [mirror.url, second.url]
    assert absent.reasons[1].endswith(": HTTP 404 Not Found")
