"""Work in a process that ends: arrays go in on its standard input, arrays come out on its standard output.

A process of its own so that the memory of scikit-learn goes with it, and so that learning, which takes minutes on a
small machine, holds up neither events nor the watchdog.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from .escape import escape
from .sealed import SealError, sealed, unsealed

PATIENCE = 3600.0  # seconds; an emulated machine takes minutes


class ApartError(Exception):
    """The process did not do its work; the message says why."""


class Apart:
    """One such process at work.

    Args:
        command: it reads an order and writes an answer, as :func:`work` does.
        order, answer: kind and version of what goes in and comes out, one word each.

    Raises:
        ApartError: it could not be started.
    """

    def __init__(self, command: Sequence[str], order: str, arrays: Mapping[str, np.ndarray], answer: str) -> None:
        self._answer = answer
        self._began = time.monotonic()
        try:
            # They live as long as this object.
            self._out, self._said = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115
            with tempfile.TemporaryFile() as given:
                given.write(sealed(order, arrays))
                given.seek(0)
                self._process = subprocess.Popen(
                    command, stdin=given, stdout=self._out, stderr=self._said, env=os.environ | {"OMP_NUM_THREADS": "1"}
                )
        except OSError as error:
            raise ApartError(f"the learner cannot be started: {error}") from error

    def result(self) -> Mapping[str, np.ndarray] | None:
        """The answer, or None while it is at work; never waits.

        Raises:
            ApartError: there will be none; the message says why.
        """
        code = self._process.poll()
        if code is None and time.monotonic() - self._began > PATIENCE:
            self.stop()
            raise ApartError(f"the learner had not ended after {PATIENCE:.0f} s and was stopped")
        if code is None:
            return None
        if code:
            said = _content(self._said).decode("utf-8", "replace").strip().splitlines() or ["it said nothing"]
            raise ApartError(f"the learner ended with {code}: {escape(said[-1], 300)}")
        try:
            return unsealed(_content(self._out), self._answer)
        except SealError as error:
            raise ApartError(f"the learner's answer: {error}") from error

    def stop(self) -> None:
        """End it; it leaves nothing behind."""
        self._process.kill()
        self._process.wait()


def work(
    order: str,
    answer: str,
    task: Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]],
    *refusals: type[Exception],
) -> None:
    """The process's own end. What ``task`` raises of ``refusals`` goes to standard error, in one line."""
    os.nice(19)
    # When memory gets scarce it is this process that goes, not the agent.
    Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    try:
        arrays = task(unsealed(sys.stdin.buffer.read(), order))
    except (SealError, ImportError, KeyError, *refusals) as error:
        sys.exit(f"{error}")
    sys.stdout.buffer.write(sealed(answer, arrays))


def _content(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()
