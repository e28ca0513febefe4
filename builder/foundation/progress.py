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
