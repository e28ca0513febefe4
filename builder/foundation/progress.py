"""Progress as events: steps report, the command line decides how it looks."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Protocol


class Progress(Protocol):
    """Whoever wants to know how far the work is. Called from several threads."""

    def started(self, step: str) -> None:
        """``step`` begins."""

    def advanced(self, step: str, done: int, total: int) -> None:
        """``done`` of ``total`` units (bytes, files) of ``step`` are through."""

    def finished(self, step: str, seconds: float, failed: bool) -> None:
        """``step`` ended after ``seconds``."""

    def note(self, text: str) -> None:
        """Something a person should know, not an error."""


class Quiet:
    """Progress that nobody watches."""

    def started(self, step: str) -> None:
        """Ignored."""

    def advanced(self, step: str, done: int, total: int) -> None:
        """Ignored."""

    def finished(self, step: str, seconds: float, failed: bool) -> None:
        """Ignored."""

    def note(self, text: str) -> None:
        """Ignored."""


class Labelled:
    """Progress of one of several works side by side: every step and note says whose it is."""

    def __init__(self, label: str, progress: Progress) -> None:
        self._label = label
        self._progress = progress

    def started(self, step: str) -> None:
        """Passed on."""
        self._progress.started(self._named(step))

    def advanced(self, step: str, done: int, total: int) -> None:
        """Passed on."""
        self._progress.advanced(self._named(step), done, total)

    def finished(self, step: str, seconds: float, failed: bool) -> None:
        """Passed on."""
        self._progress.finished(self._named(step), seconds, failed)

    def note(self, text: str) -> None:
        """Passed on."""
        self._progress.note(self._named(text))

    def _named(self, text: str) -> str:
        return f"{self._label}: {text}"


@contextlib.contextmanager
def step(progress: Progress, name: str) -> Iterator[None]:
    """Report the block as one step with its duration, also when it fails."""
    begin = time.monotonic()
    progress.started(name)
    try:
        yield
    except BaseException:
        progress.finished(name, time.monotonic() - begin, failed=True)
        raise
    progress.finished(name, time.monotonic() - begin, failed=False)
