"""How progress looks: live on a terminal, one plain line per step elsewhere. Always on standard error."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO

from builder.cli.text import duration, printable
from builder.foundation.progress import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

# After so many seconds a plain log says that a step is still running, so that nobody takes it for dead.
PATIENCE_SECONDS = 20.0


@contextlib.contextmanager
def reporter(verb: str, stream: TextIO, *, verbose: bool = False, live: bool = True) -> Iterator[Progress]:
    """Progress of one verb, shown on ``stream`` while the block runs; moving only on a terminal and when ``live``."""
    if stream.isatty() and live and not verbose:
        with _bars(stream) as bars:
            yield Live(verb, bars)
    else:
        plain = Plain(verb, stream, verbose=verbose)
        try:
            yield plain
        finally:
            plain.close()


class Plain:
    """``[build] base tree … 34.2 s``: a line when a step ends, no cursor movement, no colour."""

    def __init__(self, verb: str, stream: TextIO, *, verbose: bool = False) -> None:
        self._verb = verb
        self._stream = stream
        self._verbose = verbose
        self._lock = threading.Lock()
        self._timers: dict[str, threading.Timer] = {}

    def started(self, step: str) -> None:
        """Say so at once when verbose, else only if the step takes long."""
        if self._verbose:
            self._line(f"{step} …")
            return
        timer = threading.Timer(PATIENCE_SECONDS, self._line, (f"{step} … still running",))
        timer.daemon = True
        with self._lock:
            self._timers[step] = timer
        timer.start()

    def advanced(self, step: str, done: int, total: int) -> None:
        """Not shown: a plain log wants few lines."""

    def finished(self, step: str, seconds: float, failed: bool) -> None:
        """The step's one line."""
        with self._lock:
            timer = self._timers.pop(step, None)
        if timer:
            timer.cancel()
        self._line(f"{step} … {'failed after ' if failed else ''}{duration(seconds)}")

    def note(self, text: str) -> None:
        """One line."""
        self._line(text)

    def close(self) -> None:
        """Stop waiting for steps that never ended."""
        with self._lock:
            for timer in self._timers.values():
                timer.cancel()

    def _line(self, text: str) -> None:
        # Nobody reads progress on a closed pipe; the work itself goes on.
        with self._lock, contextlib.suppress(BrokenPipeError, ValueError):
            print(f"[{self._verb}] {printable(text)}", file=self._stream, flush=True)


class Live:
    """A spinner for every running step, a bar for those that know how far they are, a line for each that ended."""

    def __init__(self, verb: str, bars: Bars) -> None:
        self._verb = verb
        self._bars = bars
        self._lock = threading.Lock()
        self._tasks: dict[str, TaskID] = {}

    def started(self, step: str) -> None:
        """A new spinner."""
        with self._lock:
            self._tasks[step] = self._bars.add_task(printable(step), total=None)

    def advanced(self, step: str, done: int, total: int) -> None:
        """The spinner gets a bar."""
        with self._lock:
            if step in self._tasks:
                self._bars.update(self._tasks[step], completed=done, total=total)

    def finished(self, step: str, seconds: float, failed: bool) -> None:
        """The spinner goes, its line stays."""
        with self._lock:
            task = self._tasks.pop(step, None)
            if task is not None:
                self._bars.remove_task(task)
        mark, style = ("✗", "red") if failed else ("✓", "green")
        self._say(f"{mark} {step} … {duration(seconds)}", style)

    def note(self, text: str) -> None:
        """A line above the spinners."""
        self._say(f"· {text}", "yellow")

    def _say(self, text: str, style: str) -> None:
        from rich.text import Text

        mark, _, rest = printable(text).partition(" ")
        self._bars.console.print(Text(mark, style=style), Text(rest))


def _bars(stream: TextIO) -> Bars:
    from rich import progress as parts
    from rich.console import Console, RenderableType
    from rich.text import Text

    # Defined here because importing rich takes a while and a plain log needs none of it.
    class KnownOnly(parts.ProgressColumn):
        """``column``, once the total is known."""

        def __init__(self, column: parts.ProgressColumn) -> None:
            self._column = column
            super().__init__()

        def render(self, task: parts.Task) -> RenderableType:
            return Text() if task.total is None else self._column(task)

    return parts.Progress(
        parts.SpinnerColumn(),
        parts.TextColumn("{task.description}", markup=False),
        KnownOnly(parts.BarColumn()),
        KnownOnly(parts.TaskProgressColumn()),
        parts.TimeElapsedColumn(),
        console=Console(file=stream, markup=False, highlight=False),
        transient=True,
    )
