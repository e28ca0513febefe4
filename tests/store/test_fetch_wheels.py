"""Wheels are found by name in an index, and trusted by the lock's hash alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from builder.data.lock import Wheel
from builder.data.wheelindex import html_links, json_links
from builder.foundation.digest import digest_bytes
from builder.foundation.errors import InputError, LichenError
from builder.foundation.store import Store
from builder.foundation.transport import Limits
from builder.steps.fetch import Sources, fetch

from . import mirror as faulty
from .conftest import Recorder
from .mirror import Mirror

QUICK = Limits(connect=5, silence=0.4, pause=0.01)
CONTENT = b"a wheel" * 1000
WHEEL = Wheel(
    name="Small_Model",
    version="1.0+cpu",
    filename="small_model-1.0+cpu-py3-none-any.whl",
    size=len(CONTENT),
    sha256=digest_bytes(CONTENT),
    uses=("image",),
)
PAGE = "/simple/small-model/"
HTML = f'<base href="/files/"><a href="small_model-1.0%2Bcpu-py3-none-any.whl#sha256={"0" * 64}">whatever</a>'


def bring(store: Store, *indexes: str) -> None:
    fetch(store, [WHEEL], Sources({}, indexes), Recorder(), QUICK)


def offer(mirror: Mirror, page: str, kind: str) -> str:
    mirror.files |= {PAGE: page.encode(), f"/files/{WHEEL.filename}": CONTENT}
    mirror.kinds[PAGE] = kind
    return f"{mirror.url}/simple/"


def test_json_page(store: Store, mirror: Mirror) -> None:
    page = {"files": [{"filename": WHEEL.filename, "url": f"../../files/{WHEEL.filename}", "hashes": {}}]}
    bring(store, offer(mirror, json.dumps(page), "application/vnd.pypi.simple.v1+json"))
    assert store.verified(WHEEL.sha256, WHEEL.size).read_bytes() == CONTENT


def test_html_page(store: Store, mirror: Mirror) -> None:
    bring(store, offer(mirror, HTML, "text/html"))
    assert store.has(WHEEL.sha256, WHEEL.size)


def test_folder_serves_as_index(store: Store, tmp_path: Path) -> None:
    (tmp_path / "simple/small-model").mkdir(parents=True)
    (tmp_path / "simple/small-model/index.html").write_text(f'<a href="../../{WHEEL.filename}">x</a>')
    (tmp_path / WHEEL.filename).write_bytes(CONTENT)
    bring(store, (tmp_path / "simple").as_uri())
    assert store.has(WHEEL.sha256, WHEEL.size)


def test_each_index_has_its_reason_and_the_next_run_works(store: Store, mirror: Mirror, second: Mirror) -> None:
    index = offer(mirror, "<a href='other-1.0.whl'>other</a>", "text/html")
    with pytest.raises(LichenError) as caught:
        bring(store, index, f"{second.url}/simple")
    [problem] = caught.value.problems
    assert problem.where == f"Small_Model 1.0+cpu {WHEEL.filename}"
    assert problem.why.splitlines() == [
        f"{index}: its page of Small_Model does not list {WHEEL.filename}",
        f"{second.url}/simple: HTTP 404 Not Found",
    ]
    assert "PIP_INDEX_URL" in problem.remedy
    bring(store, index, offer(second, HTML, "text/html"))
    assert store.has(WHEEL.sha256, WHEEL.size)


def test_other_bytes_lead_to_the_next_index(store: Store, mirror: Mirror, second: Mirror) -> None:
    indexes = [offer(each, HTML, "text/html") for each in (mirror, second)]
    mirror.faults[f"/files/{WHEEL.filename}"] = [faulty.wrong_bytes]
    bring(store, *indexes)
    assert store.has(WHEEL.sha256, WHEEL.size)


def test_no_index_is_bad_input(store: Store) -> None:
    with pytest.raises(InputError, match="no index of wheels is known"):
        bring(store)


@pytest.mark.parametrize("page", [b"", b"[]", b'{"files": 1}', b'{"files": [{}]}', b"\xff\xfe", b"{"])
def test_broken_page_has_no_links(page: bytes) -> None:
    assert json_links(page) == {}
    assert html_links(page) == {}
