"""Somebody else's image: from a folder, from a server, and everything that can be wrong with it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.data.manifest import Artefact, Manifest
from builder.foundation.digest import digest_file
from builder.foundation.errors import InputError, LichenError
from builder.foundation.progress import Quiet
from builder.steps.published import Published, look_at
from tests.store.mirror import Fault, Mirror, endless, reset, shorter, status, truncated, wrong_bytes

DISK = b"begin" + bytes(5 << 20) + b"end" + bytes(1 << 20)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An image folder of two small artefacts."""
    made = tmp_path / "image folder"
    made.mkdir()
    (made / "image.raw").write_bytes(DISK)
    (made / "image.efi").write_bytes(b"kernel")
    (made / "build.log").write_text("only its maker's")
    artefacts = {
        name: Artefact(size=(made / name).stat().st_size, sha256=digest_file(made / name))
        for name in ("image.raw", "image.efi")
    }
    manifest = Manifest(
        profile="small",
        architecture="amd64",
        hostname="small",
        lock="1" * 64,
        image="2" * 64,
        source_date_epoch=1,
        overlays=(),
        options={},
        ports=(),
        root_filesystem="ext4",
        kernel="6",
        tools={},
        packages=(),
        wheels=(),
        artefacts=artefacts,
    )
    (made / "manifest.json").write_text(manifest.text())
    sums(made)
    return made


def sums(folder: Path) -> None:
    lines = [f"{digest_file(folder / name)}  {name}\n" for name in ("image.efi", "image.raw", "manifest.json")]
    (folder / "SHA256SUMS").write_text("".join(lines))


def serve(mirror: Mirror, folder: Path) -> str:
    """Offers the folder but for the log; its URL."""
    for path in folder.iterdir():
        if path.name != "build.log":
            mirror.files[f"/some where/{path.name}"] = path.read_bytes()
    return f"{mirror.url}/some%20where/"


def had(place: str, scratch: Path) -> Path:
    scratch.mkdir(exist_ok=True)
    return look_at(place).fetched(scratch, Quiet())


def test_folder_is_read_where_it_is(folder: Path, tmp_path: Path) -> None:
    for place in (str(folder), f"{folder}/", folder.as_uri()):
        assert had(place, tmp_path / "scratch") == folder
    assert list((tmp_path / "scratch").iterdir()) == []


def test_server(folder: Path, tmp_path: Path) -> None:
    with Mirror() as mirror:
        fetched = had(serve(mirror, folder), tmp_path / "scratch")
    assert fetched == tmp_path / "scratch"
    for name in ("image.raw", "image.efi", "manifest.json", "SHA256SUMS"):
        assert (fetched / name).read_bytes() == (folder / name).read_bytes()
    assert not (fetched / "build.log").exists()
    # What is nothing but zeros takes no room.
    assert (fetched / "image.raw").stat().st_blocks * 512 < 1 << 20


SERVED: dict[str, tuple[str, Fault, str, str]] = {
    "no such file": ("image.raw", status(404), "a published file cannot be had", "HTTP 404"),
    "no checksums": ("SHA256SUMS", status(404), "a published file cannot be had", "HTTP 404"),
    "server is broken": ("image.efi", status(503), "a published file did not arrive", "HTTP 503"),
    "breaks off": ("image.raw", truncated, "a published file did not arrive", "broke off"),
    "connection is reset": ("image.raw", reset, "a published file did not arrive", "reset"),
    "other bytes": ("image.efi", wrong_bytes, "a published file has other bytes", "SHA256SUMS says"),
    "shorter": ("image.raw", shorter, "a published file has other bytes", "SHA256SUMS says"),
    "other manifest": ("manifest.json", wrong_bytes, "a published file has other bytes", "SHA256SUMS says"),
    "checksums without end": ("SHA256SUMS", endless, "a published file has no end", ""),
}


@pytest.mark.parametrize("fault", SERVED)
def test_faults_of_a_server(folder: Path, tmp_path: Path, fault: str) -> None:
    name, how, what, why = SERVED[fault]
    with Mirror() as mirror:
        place = serve(mirror, folder)
        mirror.faults[f"/some where/{name}"] = [how]
        with pytest.raises(LichenError) as caught:
            had(place, tmp_path / "scratch")
    (problem,) = caught.value.problems
    assert problem.what == what
    assert problem.where == f"{place}{name}"
    assert why in problem.why
    assert problem.remedy


def test_nobody_answers(tmp_path: Path) -> None:
    with Mirror() as mirror:
        place = mirror.url
    with pytest.raises(LichenError) as caught:
        had(place, tmp_path)
    assert caught.value.problems[0].what == "a published file did not arrive"
    assert caught.value.problems[0].why == "Connection refused"


def flip(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def manifest_of_another_version(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"hostname"', '"nickname"'))
    sums(folder)


DAMAGED: dict[str, tuple[Callable[[Path], object], type[LichenError], str]] = {
    "missing": (lambda folder: (folder / "image.raw").unlink(), LichenError, "a published file cannot be had"),
    "changed": (lambda folder: flip(folder / "image.raw"), LichenError, "a published file has other bytes"),
    "no manifest": (lambda folder: (folder / "manifest.json").unlink(), LichenError, "a published file cannot be had"),
    "another version": (manifest_of_another_version, InputError, "the published manifest cannot be read"),
    "page": (lambda folder: (folder / "SHA256SUMS").write_text("<html>"), InputError, "this is no list of checksums"),
    "path": (
        lambda folder: (folder / "SHA256SUMS").write_text(f"{'0' * 64}  ../manifest.json\n"),
        InputError,
        "this is no list of checksums",
    ),
    "empty": (
        lambda folder: (folder / "SHA256SUMS").write_text(""),
        InputError,
        "the list of checksums does not name manifest.json",
    ),
    "gone": (shutil.rmtree, InputError, "there is no such place"),
}


@pytest.mark.parametrize("fault", DAMAGED)
def test_faults_of_a_folder(folder: Path, tmp_path: Path, fault: str) -> None:
    damage, kind, what = DAMAGED[fault]
    damage(folder)
    with pytest.raises(kind) as caught:
        had(str(folder), tmp_path / "scratch")
    assert caught.value.problems[0].what == what
    assert str(folder) in caught.value.problems[0].where


def test_no_room(folder: Path, tmp_path: Path) -> None:
    found = look_at(str(folder))
    huge = {"image.raw": Artefact(size=1 << 60, sha256="0" * 64)}
    far = Published(
        "http://127.0.0.1:9/", found.text, found.sums, found.manifest.model_copy(update={"artefacts": huge})
    )
    with pytest.raises(LichenError, match="no room for the published image"):
        far.fetched(tmp_path, Quiet())


def test_other_addresses(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in ("ftp://example.invalid/", "somewhere", "", str(tmp_path / "file")):
        with pytest.raises(InputError, match="there is no such place"):
            look_at(place)
