"""What builds read instead of the network: a local apt repository of exactly the locked debs, a folder of wheels."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import TypeVar

from builder.data.lock import Deb, Wheel
from builder.foundation.atomic import disk_error, replace_folder
from builder.foundation.digest import digest_bytes
from builder.foundation.errors import LichenError, Problem
from builder.foundation.link import link_or_copy
from builder.foundation.process import ProcessError, Runner
from builder.foundation.store import Store

# The date of every exported repository: apt refuses one from the future, and a machine's clock may lag.
RELEASED = datetime(2000, 1, 1, tzinfo=UTC)
FILE_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9+.~_-]*$")

Item = TypeVar("Item")
Result = TypeVar("Result")


def export_repository(store: Store, debs: Sequence[Deb], destination: Path, suite: str, runner: Runner) -> str:
    """Make ``destination`` an apt repository of exactly ``debs``: component ``main`` of ``suite``, unsigned.

    Every object is hashed anew, and its control file must name the package that the lock names. The same debs give
    the same bytes. ``destination`` is replaced as a whole.

    Returns:
        SHA-256 of the Release file, which covers everything else.

    Raises:
        LichenError: objects are missing, changed or not what the lock says (all of them reported), or the
            destination cannot be written.
    """
    unique = sorted(
        {deb.sha256: deb for deb in debs}.values(), key=lambda deb: (deb.name, deb.version, deb.architecture)
    )
    _require_names([(pool_name(deb), deb.sha256) for deb in unique])
    with _replaced(destination) as folder:
        stanzas = _all(lambda deb: _stanza(store, deb, runner, folder.parent), unique)
        (folder / "pool").mkdir()
        for deb in unique:
            link_or_copy(store.path(deb.sha256), folder / "pool" / pool_name(deb))
        release = _write_indices(folder / "dists" / suite, suite, list(zip(unique, stanzas, strict=True)))
    return digest_bytes(release.encode())


def export_wheels(store: Store, wheels: Sequence[Wheel], destination: Path) -> None:
    """Make ``destination`` a folder of exactly ``wheels`` under their file names; it is replaced as a whole.

    Raises:
        LichenError: objects are missing or changed (all of them reported), or the destination cannot be written.
    """
    unique = list({wheel.sha256: wheel for wheel in wheels}.values())
    _require_names([(wheel.filename, wheel.sha256) for wheel in unique])
    paths = _all(lambda wheel: store.verified(wheel.sha256, wheel.size), unique)
    with _replaced(destination) as folder:
        for wheel, path in zip(unique, paths, strict=True):
            link_or_copy(path, folder / wheel.filename)


def pool_name(deb: Deb) -> str:
    """The package's file name in the exported pool: without the epoch, as in Debian's own."""
    return f"{deb.name}_{deb.version.split(':', 1)[-1]}_{deb.architecture}.deb"


def release_text(suite: str, architectures: Sequence[str], indices: dict[str, str]) -> str:
    """A Release file for ``indices`` (path and content)."""
    lines = [
        "Origin: Lichen",
        "Label: Lichen",
        f"Suite: {suite}",
        f"Codename: {suite}",
        f"Date: {format_datetime(RELEASED, usegmt=True)}",
        f"Architectures: {' '.join(architectures)}",
        "Components: main",
        "SHA256:",
    ]
    for path, text in sorted(indices.items()):
        data = text.encode()
        lines.append(f" {digest_bytes(data)} {len(data)} {path}")
    return "\n".join(lines) + "\n"


def _write_indices(folder: Path, suite: str, packages: Sequence[tuple[Deb, str]]) -> str:
    architectures = sorted({deb.architecture for deb, _ in packages} - {"all"}) or ["all"]
    indices = {
        f"main/binary-{architecture}/Packages": "\n".join(
            stanza for deb, stanza in packages if deb.architecture in (architecture, "all")
        )
        for architecture in architectures
    }
    for path, text in indices.items():
        (folder / path).parent.mkdir(parents=True)
        (folder / path).write_text(text, encoding="utf-8")
    release = release_text(suite, architectures, indices)
    (folder / "Release").write_text(release, encoding="utf-8")
    return release


def _stanza(store: Store, deb: Deb, runner: Runner, scratch: Path) -> str:
    """The package's paragraph of ``Packages``, ending in a newline."""
    path = store.verified(deb.sha256, deb.size)
    # dpkg-deb unpacks to a temporary folder, which it leaves behind when it is killed.
    environment = {"PATH": os.environ.get("PATH", os.defpath), "TMPDIR": str(scratch)}

    def control_file() -> str:
        return runner.run(["dpkg-deb", "-f", path], env=environment).stdout

    try:
        control = store.derived("control", deb.sha256, control_file).strip()
    except ProcessError as error:
        if error.killed:
            raise
        why = error.completed.stderr.strip()
        remedy = "the lock names a file that is no package: lock anew with `lichen lock PROFILE --upgrade`"
        raise LichenError(
            Problem("dpkg-deb cannot read a locked package", f"{deb.path} ({path})", why, remedy)
        ) from error
    fields = dict(re.findall(r"^([^\s:]+):[ \t]*(.*?)\s*$", control, re.MULTILINE))
    found = tuple(fields.get(field, "") for field in ("Package", "Version", "Architecture"))
    if found != (deb.name, deb.version, deb.architecture):
        why = f"it holds {' '.join(found)}, the lock says {deb.name} {deb.version} {deb.architecture}"
        remedy = "the lock was edited or its mirror was wrong: lock anew with `lichen lock PROFILE --upgrade`"
        raise LichenError(Problem("a package is not the one that the lock names", deb.path, why, remedy))
    return f"{control}\nFilename: pool/{pool_name(deb)}\nSize: {deb.size}\nSHA256: {deb.sha256}\n"


def _require_names(files: Sequence[tuple[str, str]]) -> None:
    """Every file has a plain name of its own."""
    seen: dict[str, str] = {}
    problems = []
    remedy = "lock anew with `lichen lock PROFILE --upgrade`"
    for name, sha256 in files:
        if not FILE_NAME.match(name):
            problems.append(Problem("the lock names a file that cannot be", name, "not a plain file name", remedy))
        elif name in seen:
            why = f"sha256 {seen[name]} and {sha256}"
            problems.append(Problem("the lock has two files of one name", name, why, remedy))
        seen[name] = sha256
    if problems:
        raise LichenError(problems)


def _all(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """``function`` of every item, in parallel; the problems of all items together when some fail."""
    problems: list[Problem] = []
    results: list[Result] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        futures = [pool.submit(function, item) for item in items]
        try:
            for future in futures:
                try:
                    results.append(future.result())
                except LichenError as error:
                    problems += error.problems
        finally:
            # After an interruption only what is running is waited for.
            pool.shutdown(cancel_futures=True)
    if problems:
        raise LichenError(problems)
    return results


@contextlib.contextmanager
def _replaced(destination: Path) -> Iterator[Path]:
    """An empty folder beside ``destination`` that takes its place when the block succeeds, and is gone when not."""
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=destination.parent, prefix=f".{destination.name}.") as name:
            folder = Path(name) / "new"
            folder.mkdir()
            yield folder
            replace_folder(folder, destination)
    except OSError as error:
        raise disk_error(error, destination.parent) from error
