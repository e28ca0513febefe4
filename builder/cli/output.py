"""What is printed: results on standard output, messages and errors on standard error."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TextIO

import typer

from builder.cli.text import printable
from builder.foundation.digest import canonical_json
from builder.foundation.errors import LichenError, Problem

if TYPE_CHECKING:
    from rich.console import RenderableType

# Without a terminal nothing is cut or wrapped to a width that nobody sees.
UNLIMITED_WIDTH = 10_000
LABELS = (("where", "where"), ("why", "why"), ("remedy", "do"))


def emit_json(value: Any) -> None:
    """A result as canonical JSON on standard output."""
    _write(sys.stdout, canonical_json(value))


def say(text: str) -> None:
    """A line of the result."""
    _write(sys.stdout, f"{printable(text)}\n")


def tell(text: str) -> None:
    """A line for the person, apart from the result."""
    _write(sys.stderr, f"{printable(text)}\n")


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table on standard output; nothing when there are no rows."""
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, pad_edge=False, header_style="bold")
    for index, header in enumerate(headers):
        # Names stay whole, the last column takes the folds.
        grid.add_column(header, overflow="fold", no_wrap=index < len(headers) - 1)
    for row in rows:
        grid.add_row(*(Text(printable(cell)) for cell in row))
    if grid.row_count:
        _write(sys.stdout, _rendered(grid, sys.stdout))


def tell_problems(problems: Sequence[Problem]) -> None:
    """Errors in four parts on standard error, numbered when there are several."""
    from rich.text import Text

    text = Text()
    if len(problems) > 1:
        text.append(f"{len(problems)} problems\n", style="bold red")
    for number, problem in enumerate(problems, start=1):
        mark = "error: " if len(problems) == 1 else f"{number}. "
        text.append(mark, style="bold red").append(printable(problem.what) + "\n", style="bold")
        for field, label in LABELS:
            if content := printable(getattr(problem, field)).strip():
                first, *more = content.splitlines()
                text.append(f"  {label:<5}  ", style="dim").append(first + "\n")
                text.append("".join(f"         {line}\n" for line in more))
    _write(sys.stderr, _rendered(text, sys.stderr, end=""))


def _rendered(content: RenderableType, stream: TextIO, end: str = "\n") -> str:
    from rich.console import Console

    terminal = stream.isatty()
    console = Console(
        file=io.StringIO(),
        force_terminal=terminal,
        width=None if terminal else UNLIMITED_WIDTH,
        markup=False,
        highlight=False,
        emoji=False,
    )
    with console.capture() as capture:
        console.print(content, soft_wrap=not terminal, end=end)
    lines = capture.get().splitlines(keepends=True)
    return "".join(lines if terminal else (line.rstrip() + "\n" for line in lines))


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
        stream.flush()
    except OSError as error:
        silence(stream)
        if isinstance(error, BrokenPipeError):
            # Whoever read us has enough (`lichen list | head -1`).
            raise typer.Exit(1) from None
        raise LichenError(Problem("cannot write the output", stream.name, str(error))) from error


def silence(stream: TextIO) -> None:
    """Let what is left in a stream's buffer go nowhere: the interpreter flushes it at its end, and would complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
