"""Many downloads beside one another, over mirrors of which some are down, slow or wrong."""

from __future__ import annotations

import functools
import queue
import shutil
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import requests

from builder.data.lock import LockedFile
from builder.foundation.atomic import disk_error, room_error
from builder.foundation.progress import Progress, step
from builder.foundation.store import MissingObjectError, Partial, Store
from builder.foundation.transport import Limits, PassingError, RefusedError, connect
from builder.steps.fetch.absence import Absent, AbsentError
from builder.steps.fetch.places import Place, Wanted, find_places
from builder.steps.fetch.sources import Sources, require_sources, title
from builder.steps.fetch.transfer import Transfer

STEP = "download"
JOIN_SECONDS = 1.0  # patience with threads after an interruption; one inside a silent connection is left behind


def fetch(
    store: Store, files: Sequence[LockedFile], sources: Sources, progress: Progress, limits: Limits | None = None
) -> None:
    """Have every one of ``files`` in the store with the bytes that the lock promises.

    What is there already is hashed anew; a changed object is noted and fetched again.

    Raises:
        InputError: an archive, the wheels or a model have no source.
        AbsentError: some files could not be had (all of them reported).
        LichenError: the store cannot be written.
    """
    limits = limits or Limits()
    require_sources(files, sources)
    with step(progress, STEP):
        missing = missing_files(store, files, progress)
        if missing:
            _Downloads(store, [find_places(file, sources, limits) for file in missing], progress, limits).run()


def missing_files(store: Store, files: Sequence[LockedFile], progress: Progress) -> list[LockedFile]:
    """Those of ``files``, each once, that the store has no good copy of; every copy is hashed anew.

    Raises:
        LichenError: the store cannot be read.
    """
    unique = list({file.sha256: file for file in files}.values())

    def good(file: LockedFile) -> bool:
        try:
            store.verified(file.sha256, file.size)
        except MissingObjectError as error:
            if error.changed:
                problem = error.problems[0]
                progress.note(f"{title(file)}: {problem.what}: {problem.why} ({problem.where})")
            return False
        return True

    with ThreadPoolExecutor() as pool:
        return [file for file, found in zip(unique, pool.map(good, unique), strict=True) if not found]


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
    absent: dict[str, Absent] = field(default_factory=dict)
    fatal: list[BaseException] = field(default_factory=list)
    ended: queue.SimpleQueue[None] = field(default_factory=queue.SimpleQueue)

    def __post_init__(self) -> None:
        self.transfer = Transfer(self.store, self.limits, self.stop, self._advance, self._outstanding)

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
        if self.absent:
            raise AbsentError(tuple(self.absent.values()))

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
            raise disk_error(error, self.store.root) from error
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
            if not self.stop.is_set() and wanted.sha256 not in self.absent:
                self._advance(wanted, wanted.size)

    def _from_mirrors(self, session: requests.Session, wanted: Wanted, partial: Partial) -> None:
        failures: dict[str, Exception] = {}
        for places in (wanted.places, wanted.fallbacks):
            if self._rounds(session, places, wanted, partial, failures):
                return
        bases = [place.base for place in (*wanted.places, *wanted.fallbacks)]
        reasons = tuple(f"{base}: {failures[base]}" for base in bases)
        dropped = all(isinstance(failures[base], RefusedError) for base in bases)
        self.absent[wanted.sha256] = Absent(wanted.file, reasons, dropped)

    def _rounds(
        self,
        session: requests.Session,
        places: Sequence[Place],
        wanted: Wanted,
        partial: Partial,
        failures: dict[str, Exception],
    ) -> bool:
        """Rounds over places until one has the file, all of them were asked often enough, or we are to stop.

        Args:
            failures: gets the last failure of each place.

        Returns:
            Whether nothing more is to be done for the file.
        """
        left = {place.base: place for place in places}
        best, rounds = partial.size, 0
        while left:
            # Mirrors that failed just now, for any file, come last: a hanging mirror costs a time-out or two, not one
            # for each file. The sort keeps the preferred order otherwise.
            for base in sorted(left, key=lambda base: self.health.failures.get(base, 0) > 0):
                if self.stop.is_set():
                    return True
                if verdict := self.health.verdict(base, self.limits.attempts * self.limits.jobs):
                    failures[base] = PassingError(verdict)
                    del left[base]
                    continue
                try:
                    self.transfer.attempt(session, left[base], wanted, partial)
                    self.health.worked(base)
                    return True
                except RefusedError as error:
                    self.health.worked(base)
                    failures[base] = error
                    del left[base]
                except PassingError as error:
                    failures[base] = error
                    if partial.size > best:
                        self.health.worked(base)
                    else:
                        self.health.failed(base, str(error))
            # Bytes beyond the high-water mark are progress; an unsteady line may need many rounds.
            rounds = 1 if partial.size > best else rounds + 1
            best = max(best, partial.size)
            if rounds >= self.limits.attempts:
                break
            if left:
                self.stop.wait(self.limits.pause * 2 ** (rounds - 1))
        return False

    def _advance(self, wanted: Wanted, size: int) -> None:
        with self.lock:
            self.have[wanted.sha256] = size
            self.progress.advanced(STEP, sum(self.have.values()), self.total)
