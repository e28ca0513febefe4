"""Bring locked files into the store: in parallel, resumable, from the first mirror that has the right bytes.

Mirrors are not trusted: a file enters the store only with the size and SHA-256 of the lock. Whatever a mirror does
wrong (down, silent, cut off, other bytes) leads to the next one; only when none has a file is that an error.
"""

from __future__ import annotations

import functools
import queue
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from urllib.parse import quote, urljoin

import requests
from packaging.utils import canonicalize_name

from builder.data.lock import Deb, Wheel
from builder.data.wheelindex import html_links, json_links
from builder.foundation.errors import InputError, LichenError, Problem
from builder.foundation.progress import Progress, step
from builder.foundation.store import MissingObjectError, Partial, Store, WrongContentError, room_error, storage_error
from builder.foundation.transport import (
    Limits,
    PassingError,
    RefusedError,
    chunks,
    connect,
    file_chunks,
    get,
    read_page,
    starts_at,
)

STEP = "download"
SIMPLE_API = "application/vnd.pypi.simple.v1+json, text/html;q=0.1"
PLAIN = {"Accept-Encoding": "identity"}
JOIN_SECONDS = 1.0  # patience with threads after an interruption; one inside a silent connection is left behind


@dataclass(frozen=True)
class Sources:
    """Where this machine finds files: base URLs per archive, and wheel indexes, the preferred one first."""

    mirrors: Mapping[str, Sequence[str]]
    indexes: Sequence[str] = ()


Locate = Callable[[requests.Session], str]


@dataclass(frozen=True)
class Wanted:
    """A file to bring: what it must be, and for each mirror how to find its URL there, the preferred one first."""

    name: str
    sha256: str
    size: int
    places: Sequence[tuple[str, Locate]]


def fetch(
    store: Store, files: Sequence[Deb | Wheel], sources: Sources, progress: Progress, limits: Limits | None = None
) -> None:
    """Have every one of ``files`` in the store with the bytes that the lock promises.

    What is there already is hashed anew; a changed object is noted and fetched again.

    Raises:
        InputError: an archive or the wheels have no mirror.
        LichenError: some files could not be had (all of them reported), or the store cannot be written.
    """
    limits = limits or Limits()
    _require_sources(files, sources)
    unique = {file.sha256: file for file in files}
    with step(progress, STEP):
        missing = _missing(store, list(unique.values()), progress)
        if missing:
            _Downloads(store, [_wanted(file, sources, limits) for file in missing], progress, limits).run()


def _require_sources(files: Sequence[Deb | Wheel], sources: Sources) -> None:
    archives = {file.archive for file in files if isinstance(file, Deb)}
    problems = [
        Problem(
            f"no mirror of the archive {archive!r} is known",
            archive,
            "neither an option nor this machine's apt names one",
            f"add `--mirror {archive}=URL`, or LICHEN_MIRRORS in the environment",
        )
        for archive in sorted(archives)
        if not sources.mirrors.get(archive)
    ]
    wheels = [file.filename for file in files if isinstance(file, Wheel)]
    if wheels and not sources.indexes:
        why = "neither an option, nor pip's configuration, nor uv names one"
        problems.append(Problem("no index of wheels is known", wheels[0], why, "set PIP_INDEX_URL"))
    if problems:
        raise InputError(problems)


def _missing(store: Store, files: Sequence[Deb | Wheel], progress: Progress) -> list[Deb | Wheel]:
    def good(file: Deb | Wheel) -> bool:
        try:
            store.verified(file.sha256, file.size)
        except MissingObjectError as error:
            if error.changed:
                problem = error.problems[0]
                progress.note(f"{file.name} {file.version}: {problem.what}: {problem.why} ({problem.where})")
            return False
        return True

    with ThreadPoolExecutor() as pool:
        return [file for file, found in zip(files, pool.map(good, files), strict=True) if not found]


def _wanted(file: Deb | Wheel, sources: Sources, limits: Limits) -> Wanted:
    places: list[tuple[str, Locate]]
    if isinstance(file, Deb):
        places = [(base, functools.partial(_deb_url, base=base, deb=file)) for base in sources.mirrors[file.archive]]
        return Wanted(f"{file.name} {file.version} {file.architecture}", file.sha256, file.size, places)
    places = [(base, functools.partial(find_wheel, index=base, wheel=file, limits=limits)) for base in sources.indexes]
    return Wanted(f"{file.name} {file.version} {file.filename}", file.sha256, file.size, places)


def _deb_url(_session: requests.Session, base: str, deb: Deb) -> str:
    # Escaped as apt does it; servers that keep files by URL read a bare plus as a space.
    return f"{base.rstrip('/')}/{quote(deb.path, safe='/:~')}"


@dataclass
class _Health:
    """How the mirrors of one run fare, over all files and threads."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    failures: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def worked(self, base: str) -> None:
        """The mirror answered."""
        with self.lock:
            self.failures[base] = 0

    def failed(self, base: str, reason: str) -> None:
        """The mirror did not answer properly."""
        with self.lock:
            self.failures[base] = self.failures.get(base, 0) + 1
            self.reasons[base] = reason

    def verdict(self, base: str, patience: int) -> str:
        """Why nothing more should be asked of the mirror; empty while it deserves another try."""
        count = self.failures.get(base, 0)
        return f"given up after {count} failures in a row, the last: {self.reasons[base]}" if count >= patience else ""


@dataclass
class _Downloads:
    """One run of parallel downloads; everything below is shared by its threads."""

    store: Store
    wanted: Sequence[Wanted]
    progress: Progress
    limits: Limits
    stop: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    health: _Health = field(default_factory=_Health)
    have: dict[str, int] = field(default_factory=dict)  # bytes on this disk, by SHA-256
    unreachable: dict[str, tuple[str, ...]] = field(default_factory=dict)
    fatal: list[BaseException] = field(default_factory=list)
    ended: queue.SimpleQueue[None] = field(default_factory=queue.SimpleQueue)

    @functools.cached_property
    def total(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.wanted)

    def run(self) -> None:
        """Bring all files or raise; an interruption ends the threads and keeps what they have."""
        self._require_room()
        waiting: queue.SimpleQueue[Wanted] = queue.SimpleQueue()
        # Large files first: the last one to finish decides how long it takes.
        for wanted in sorted(self.wanted, key=lambda file: (-file.size, file.sha256)):
            waiting.put(wanted)
        # Daemons, not an executor: Python waits for an executor's threads at exit, and one of these may hang in
        # a silent connection.
        count = min(self.limits.jobs, len(self.wanted))
        for _ in range(count):
            threading.Thread(target=self._work, args=(waiting,), daemon=True).start()
        # Not Thread.join: interrupted by a signal, Python 3.11's takes a running thread for a finished one.
        try:
            while count and not self.fatal:
                count -= self._ended(0.2)
        finally:
            self.stop.set()
            deadline = time.monotonic() + JOIN_SECONDS
            while count and time.monotonic() < deadline:
                count -= self._ended(0.2)
        if self.fatal:
            raise self.fatal[0]
        if self.unreachable:
            raise LichenError(self._problems())

    def _ended(self, seconds: float) -> int:
        """How many threads, one or none, ended while we waited."""
        try:
            self.ended.get(timeout=seconds)
        except queue.Empty:
            return 0
        return 1

    def _require_room(self) -> None:
        try:
            self.store.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(error, self.store.root) from error
        begun = {entry.sha256: entry.size for entry in self.store.partials()}
        self.have = {file.sha256: min(begun.get(file.sha256, 0), file.size) for file in self.wanted}
        free = shutil.disk_usage(self.store.root).free
        if (needed := self._outstanding()) > free:
            raise room_error(self.store.root, needed, free)

    def _outstanding(self) -> int:
        """Bytes that are not on this disk yet."""
        with self.lock:
            return self.total - sum(self.have.values())

    def _work(self, waiting: queue.SimpleQueue[Wanted]) -> None:
        try:
            with connect() as session:
                while not self.stop.is_set():
                    self._bring(session, waiting.get_nowait())
        except queue.Empty:
            pass
        except BaseException as error:  # handed to the thread that waits in run()
            self.fatal.append(error)
        finally:
            self.ended.put(None)

    def _bring(self, session: requests.Session, wanted: Wanted) -> None:
        def waiting() -> None:
            self.progress.note(f"another process downloads {wanted.name}; waiting for it")

        with self.store.partial(wanted.sha256, wanted.size, self.stop, waiting) as partial:
            if partial:
                self._from_mirrors(session, wanted, partial)
            if not self.stop.is_set() and wanted.sha256 not in self.unreachable:
                self._advance(wanted, wanted.size)

    def _from_mirrors(self, session: requests.Session, wanted: Wanted, partial: Partial) -> None:
        """Rounds over the mirrors until one has the file or all of them were asked often enough."""
        places = dict(wanted.places)
        reasons: dict[str, str] = {}
        best, rounds = partial.size, 0
        while True:
            # Mirrors that failed just now, for any file, come last: a hanging mirror costs a time-out or two, not one
            # for each file. The sort keeps the preferred order otherwise.
            for base in sorted(places, key=lambda base: self.health.failures.get(base, 0) > 0):
                if self.stop.is_set():
                    return
                if verdict := self.health.verdict(base, self.limits.attempts * self.limits.jobs):
                    reasons[base] = verdict
                    del places[base]
                    continue
                try:
                    self._attempt(session, places[base], wanted, partial)
                    self.health.worked(base)
                    return
                except RefusedError as error:
                    self.health.worked(base)
                    reasons[base] = str(error)
                    del places[base]
                except PassingError as error:
                    reasons[base] = str(error)
                    if partial.size > best:
                        self.health.worked(base)
                    else:
                        self.health.failed(base, str(error))
            # Bytes beyond the high-water mark are progress; an unsteady line may need many rounds.
            rounds = 1 if partial.size > best else rounds + 1
            best = max(best, partial.size)
            if not places or rounds >= self.limits.attempts:
                self.unreachable[wanted.sha256] = tuple(f"{base}: {reasons[base]}" for base, _ in wanted.places)
                return
            self.stop.wait(self.limits.pause * 2 ** (rounds - 1))

    def _attempt(self, session: requests.Session, locate: Locate, wanted: Wanted, partial: Partial) -> None:
        """Take what is missing from one mirror and put the object into the store."""
        if partial.size > wanted.size:
            self._restart(wanted, partial)
        while True:
            resumed = partial.size
            if resumed < wanted.size:
                self._transfer(session, locate(session), wanted, partial)
            if self.stop.is_set():
                return
            try:
                self.store.insert(partial.path, wanted.sha256)
                return
            except WrongContentError as error:
                self._restart(wanted, partial)
                # What an earlier run or another mirror brought may be at fault: ask this one for the whole file.
                if not resumed:
                    raise RefusedError(f"other bytes: sha256 {error.actual}, locked is {wanted.sha256}") from None

    def _transfer(self, session: requests.Session, url: str, wanted: Wanted, partial: Partial) -> None:
        if url.startswith("file:"):
            self._restart(wanted, partial)
            self._receive(file_chunks(url), wanted, partial)
            return
        with self._answer(session, url, wanted, partial) as response:
            length = response.headers.get("Content-Length", "")
            if length.isdecimal() and "Content-Encoding" not in response.headers:
                announced = partial.size + int(length)
                if announced != wanted.size:
                    raise RefusedError(f"another file: {announced} bytes, locked are {wanted.size}")
            self._receive(chunks(response, self.limits), wanted, partial)

    def _answer(self, session: requests.Session, url: str, wanted: Wanted, partial: Partial) -> requests.Response:
        """An answer whose body continues where the partial file ends."""
        if offset := partial.size:
            response = get(session, url, {**PLAIN, "Range": f"bytes={offset}-"}, self.limits)
            if response.status_code == 206 and starts_at(response, offset):
                return response
            self._restart(wanted, partial)
            if response.status_code == 200:
                return response  # the server ignores Range: this is the whole file
            response.close()
        response = get(session, url, PLAIN, self.limits)
        if response.status_code != 200:
            response.close()
            raise RefusedError(f"HTTP {response.status_code} to a request for the whole file")
        return response

    def _receive(self, body: Iterator[bytes], wanted: Wanted, partial: Partial) -> None:
        try:
            for chunk in body:
                if self.stop.is_set():
                    return
                if partial.size + len(chunk) > wanted.size:
                    self._restart(wanted, partial)
                    raise RefusedError(f"another file: more than the locked {wanted.size} bytes")
                self._append(chunk, wanted, partial)
        except PassingError as error:
            raise PassingError(f"{error} after {partial.size} of {wanted.size} bytes") from error
        if partial.size < wanted.size:
            raise PassingError(f"cut off after {partial.size} of {wanted.size} bytes")

    def _append(self, chunk: bytes, wanted: Wanted, partial: Partial) -> None:
        try:
            partial.append(chunk)
        except OSError as error:
            raise storage_error(error, self.store.root, self._outstanding()) from error
        self._advance(wanted, partial.size)

    def _restart(self, wanted: Wanted, partial: Partial) -> None:
        if partial.size:
            partial.restart()
            self._advance(wanted, 0)

    def _advance(self, wanted: Wanted, size: int) -> None:
        with self.lock:
            self.have[wanted.sha256] = size
            self.progress.advanced(STEP, sum(self.have.values()), self.total)

    def _problems(self) -> list[Problem]:
        """One problem for all files that fail for the same reasons."""
        groups: dict[tuple[str, ...], list[Wanted]] = {}
        for wanted in sorted(self.wanted, key=lambda file: file.name):
            if wanted.sha256 in self.unreachable:
                groups.setdefault(self.unreachable[wanted.sha256], []).append(wanted)
        remedy = (
            "check the network and run the command again, it resumes; or name another mirror (`--mirror ARCHIVE=URL`, "
            "PIP_INDEX_URL for wheels); for files that every mirror dropped, lock anew: `lichen lock PROFILE --upgrade`"
        )
        return [
            Problem(
                what=f"cannot download {'a' if len(files) == 1 else len(files)} locked file{'s'[: len(files) - 1]}",
                where="\n".join(file.name for file in files),
                why="\n".join(reasons),
                remedy=remedy,
            )
            for reasons, files in groups.items()
        ]


def find_wheel(session: requests.Session, index: str, wheel: Wheel, limits: Limits) -> str:
    """The URL of a wheel by its file name, from an index of the simple API (JSON, or the older HTML)."""
    url = f"{index.rstrip('/')}/{canonicalize_name(wheel.name)}/"
    if url.startswith("file:"):
        page, base, kind = b"".join(file_chunks(f"{url}index.html")), f"{url}index.html", "text/html"
    else:
        page, base, kind = read_page(session, url, SIMPLE_API, limits)
    links = json_links(page) if "json" in kind else html_links(page)
    if wheel.filename not in links:
        raise RefusedError(f"its page of {wheel.name} does not list {wheel.filename}")
    return urljoin(base, links[wheel.filename])
