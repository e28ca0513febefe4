"""Processes of a run: begun in a cgroup of their own, held at a gate until everything else is ready."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup/lichen-bench")
# Waits for a line, then becomes the command: its process number is known before it does anything.
GATE = 'echo 0 > "$1" && shift && read -r go && exec "$@"'


class TaskError(Exception):
    """A process could not be run to its end; the message says why."""


@contextlib.contextmanager
def cgroups() -> Iterator[None]:
    """A cgroup for the workload and one for the probe, of the same weight, as two services of a machine have.

    Raises:
        TaskError: the machine has no cgroup v2 with the cpu controller.
    """
    try:
        (CGROUP.parent / "cgroup.subtree_control").write_text("+cpu")
        CGROUP.mkdir(exist_ok=True)
        (CGROUP / "cgroup.subtree_control").write_text("+cpu")
        for name in ("work", "probe"):
            (CGROUP / name).mkdir(exist_ok=True)
    except OSError as error:
        raise TaskError(f"{CGROUP}: {error.strerror}; needs root and cgroup v2 with the cpu controller") from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            for path in sorted(CGROUP.glob("**/"), reverse=True):
                path.rmdir()


class Task:
    """A command behind the gate, in a cgroup; all it printed is there when it has ended."""

    def __init__(self, command: Sequence[str], cgroup: str, *, batch: bool = False) -> None:
        words = ["chrt", "--batch", "0", *command] if batch else list(command)
        procs = str(CGROUP / cgroup / "cgroup.procs")
        # A session of its own, so that nothing of it outlives a run.
        self._process = subprocess.Popen(
            ["sh", "-c", GATE, "gate", procs, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=os.environ | {"LICHEN_BENCH_CGROUP": str(CGROUP)},
        )
        self.pid, self._name = self._process.pid, command[0]

    def go(self) -> None:
        """Opens the gate."""
        assert self._process.stdin  # noqa: S101
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def ready(self, timeout: float) -> None:
        """Waits for its first line, by which it says that it has begun.

        Raises:
            TaskError: it ended, or said nothing for ``timeout`` seconds.
        """
        out = self._process.stdout
        assert out  # noqa: S101
        if not select.select([out], [], [], timeout)[0]:
            raise TaskError(f"{self._name} had not begun after {timeout:.0f} s")
        if not out.readline():
            self.result(timeout)
            raise TaskError(f"{self._name} ended before it had begun")

    def result(self, timeout: float) -> str:
        """Closes its standard input, waits for its end, returns its standard output.

        Raises:
            TaskError: it failed, or took longer than ``timeout`` seconds and was killed.
        """
        try:
            out, said = self._process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise TaskError(f"{self._name} had not ended after {timeout:.0f} s") from None
        if self._process.returncode:
            last = (said.strip().splitlines() or ["it said nothing"])[-1]
            raise TaskError(f"{self._name} ended with {self._process.returncode}: {last}")
        return out

    def kill(self) -> None:
        """Ends it and all it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.communicate()
