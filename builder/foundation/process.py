"""The only place that starts processes.

A :class:`Runner` is handed to whoever needs one; parsers elsewhere take the text it returns.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from builder.foundation.errors import LichenError, Problem

GRACE_SECONDS = 10.0  # between the first SIGTERM and SIGKILL
_AGAIN_SECONDS = 0.5  # between two SIGTERM
# Ends when whoever started it is gone: it may have been killed before setpriv asked for that signal.
_TIED = """
[ "$PPID" = "$1" ] || exit 1
shift
exec "$@"
"""
# Becomes unshare, with its own folder of /proc open for _BEGUN.
_UNSHARED = """
exec 9< "/proc/$$"
exec "$@"
"""
# Ends when unshare is gone: it may have been killed after it forked and before its child asked to be killed with it.
_BEGUN = """
read -r _ _ state _ < /proc/self/fd/9/stat && [ "$state" != Z ] || exit 1
exec 9<&-
exec "$@"
"""


@dataclass(frozen=True)
class Completed:
    """What a finished process left: its exit code and what it printed (empty when that went to a log)."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str


class ProcessError(LichenError):
    """A tool ended with an exit code other than zero; ``completed`` holds what it printed.

    Attributes:
        killed: a signal ended it: what it printed tells nothing about what it was asked.
    """

    def __init__(self, completed: Completed, log: Path | None = None) -> None:
        self.completed = completed
        code = completed.returncode
        self.killed = code < 0
        end = f"was ended by signal {-code}" if self.killed else f"ended with exit code {code}"
        tail = (completed.stderr or completed.stdout).strip().splitlines()[-15:]
        super().__init__(
            Problem(
                what=f"{Path(completed.argv[0]).name} {end}",
                where=shlex.join(completed.argv)[:400],
                why="\n".join(tail),
                remedy=f"the full output is in {log}" if log else "",
            )
        )


def among_themselves(options: Sequence[str], command: Sequence[str]) -> list[str]:
    """``command`` as the first process of a PID namespace: when it ends, or unshare(1) is killed, all others there end.

    Args:
        options: of unshare(1), for the other namespaces.
    """
    words = ["unshare", "--pid", "--fork", "--kill-child=KILL", "--mount-proc", *options, "--"]
    return ["sh", "-c", _UNSHARED, "lichen", *words, "sh", "-c", _BEGUN, "lichen", *command]


def end_group(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    """End a process started in its own session, with everything it started: TERM, then KILL."""
    deadline = time.monotonic() + GRACE_SECONDS
    try:
        while time.monotonic() < deadline:
            # More than once: the first process of a new namespace hears nothing until it has set a handler.
            _signal_group(process, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_AGAIN_SECONDS)
                return
    finally:
        # Too slow, or we are told to stop a second time; nobody is hit when all have ended.
        if process.poll() is None:
            _signal_group(process, signal.SIGKILL)
            process.wait()


def _signal_group(process: subprocess.Popen[bytes] | subprocess.Popen[str], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _tied(words: Sequence[str], env: Mapping[str, str] | None) -> list[str]:
    """``words`` as a command that the kernel kills when the thread that started it ends.

    Raises:
        LichenError: the program is not installed.
    """
    if shutil.which(words[0], path=(os.environ if env is None else env).get("PATH")) is None:
        error = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), words[0])
        raise _not_installed(words[0], error) from error
    return ["setpriv", "--pdeathsig", "KILL", "--", "/bin/sh", "-c", _TIED, "lichen", str(os.getpid()), *words]


def _not_installed(program: str, error: FileNotFoundError) -> LichenError:
    remedy = "run ci/setup, which installs what Lichen needs"
    return LichenError(Problem(f"{program} is not installed", program, str(error), remedy))


class Runner:
    """Runs processes in their own session, so that an interruption ends the whole family of them."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._guard = threading.Lock()

    def end_all(self) -> None:
        """End every process that runs now, from any thread; whoever waits for one gets its :class:`ProcessError`."""
        with self._guard:
            running = list(self._running)
        for process in running:
            end_group(process)

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        log: Path | None = None,
        stdin: str | None = None,
        timeout: float | None = None,
        check: bool = True,
    ) -> Completed:
        """Run ``argv`` to its end, or to ours: when we are killed, the kernel kills it too.

        What it has started by itself must notice that it is gone, or live in a PID namespace with it.

        Args:
            env: the whole environment; the caller's own when None.
            log: append both outputs to this file instead of capturing them.
            timeout: seconds after which the process family is ended.

        Raises:
            ProcessError: exit code other than zero and ``check`` is set.
            LichenError: the program is missing or the time is over.
        """
        words = tuple(str(word) for word in argv)
        with contextlib.ExitStack() as stack:
            out = stack.enter_context(log.open("ab")) if log else subprocess.PIPE
            start = out.tell() if log and not isinstance(out, int) else 0
            process = stack.enter_context(self.started(words, cwd=cwd, env=env, stdout=out, tied=True))
            try:
                stdout, stderr = process.communicate(stdin.encode() if stdin is not None else None, timeout)
            except subprocess.TimeoutExpired:
                raise LichenError(
                    Problem(f"{words[0]} did not end within {timeout:.0f} s", shlex.join(words)[:400])
                ) from None
        if log:
            stdout = log.read_bytes()[start:]
        done = Completed(
            words,
            process.returncode,
            (stdout or b"").decode(errors="replace"),
            (stderr or b"").decode(errors="replace"),
        )
        if check and done.returncode != 0:
            raise ProcessError(done, log)
        return done

    @contextlib.contextmanager
    def fed(self, argv: Sequence[str | Path]) -> Iterator[IO[bytes]]:
        """A process that reads what the block writes, run to its end when the block is left. What it prints is little.

        Raises:
            ProcessError: exit code other than zero.
            LichenError: the program is missing.
        """
        words = tuple(str(word) for word in argv)
        with self.started(words, tied=True) as process:
            refused: BrokenPipeError | None = None
            try:
                yield cast(IO[bytes], process.stdin)
            except BrokenPipeError as error:
                refused = error  # it ended early; its own words tell more
            stdout, stderr = process.communicate()
            said = (text.decode(errors="replace") for text in (stdout, stderr))
            done = Completed(words, process.returncode, *said)
            if done.returncode != 0:
                raise ProcessError(done)
            if refused:
                raise refused

    @contextlib.contextmanager
    def started(
        self,
        argv: Sequence[str | Path],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdout: int | IO[bytes] = subprocess.PIPE,
        tied: bool = False,
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A process that runs beside us and is ended, with its children, when the block is left.

        Args:
            tied: it ends with us too, however we end.

        Raises:
            LichenError: the program is not installed.
        """
        words = [str(word) for word in argv]
        if tied:
            words = _tied(words, env)
        try:
            process = subprocess.Popen(
                words,
                cwd=cwd,
                env=dict(env) if env is not None else None,
                stdin=subprocess.PIPE,
                stdout=stdout,
                stderr=subprocess.PIPE if stdout is subprocess.PIPE else subprocess.STDOUT,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise _not_installed(words[0], error) from error
        with self._guard:
            self._running.add(process)
        try:
            yield process
        finally:
            with self._guard:
                self._running.discard(process)
            # Ends stragglers too: a tool that was told to stop may leave children behind.
            if process.poll() is None:
                end_group(process)
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream:
                    with contextlib.suppress(OSError):
                        stream.close()
