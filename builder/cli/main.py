"""``lichen``: parse, call one verb, print. The only place that catches errors and exits."""

from __future__ import annotations

import difflib
import io
import itertools
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType
from typing import Any, NoReturn, cast

import typer
import typer.main

from builder.cli.commands import app
from builder.cli.output import emit_json, silence, tell, tell_problems
from builder.cli.session import GLOBAL_OPTIONS, hoist
from builder.foundation.errors import EXIT_BAD_INPUT, EXIT_INTERRUPTED, InterruptError, LichenError, Problem

PROGRAM = "lichen"
COMPLETION_VARIABLE = "_LICHEN_COMPLETE"
INTERRUPTED = "interrupted; nothing half-written is kept; run the same command again"
# The parser's own base of all usage errors; typer exports only this child of it.
UsageError = cast(type[Exception], typer.BadParameter.__mro__[1])


def main() -> NoReturn:
    """Entry point of the program."""
    # Ctrl-C raises KeyboardInterrupt by itself; a supervisor's stop and a closed terminal are made to do the same.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _interrupt)
    # A file name that is not UTF-8 must not turn printing into a crash.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    code = run(sys.argv[1:])
    try:
        # What typer itself printed, such as --help, may still be on its way.
        sys.stdout.flush()
    except OSError:
        silence(sys.stdout)
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command line; its exit code. Only bugs raise."""
    words = hoist(arguments)
    options = list(itertools.takewhile(lambda word: word != "--", words))
    try:
        return _run(words)
    except typer.Exit as stop:
        return stop.exit_code
    except (KeyboardInterrupt, InterruptError, typer.Abort):
        return _report([Problem(INTERRUPTED)], EXIT_INTERRUPTED, "--json" in options)
    except UsageError as error:
        return _report([usage_problem(error)], EXIT_BAD_INPUT, "--json" in options)
    except LichenError as error:
        if "--verbose" in options:
            tell("".join(traceback.format_exception(error)))
        return _report(error.problems, error.exit_code, "--json" in options)


def _run(words: list[str]) -> int:
    command = typer.main.get_command(app)
    if COMPLETION_VARIABLE in os.environ:
        # A shell asks what could come next.
        command.main(words, prog_name=PROGRAM, complete_var=COMPLETION_VARIABLE)
    with command.make_context(PROGRAM, words) as context:
        command.invoke(context)
    return 0


def _report(problems: Sequence[Problem], code: int, as_json: bool) -> int:
    try:
        if as_json:
            emit_json({"error": [problem.as_dict() for problem in problems], "exit_code": code})
        elif code == EXIT_INTERRUPTED:
            tell(problems[0].what)
        else:
            tell_problems(problems)
    except typer.Exit:
        # Nobody reads what we say; the exit code still tells.
        return code
    return code


def usage_problem(error: Any) -> Problem:
    """A command line that the parser refused, in four parts, with what was perhaps meant."""
    context = error.ctx
    where = context.command_path if context else PROGRAM
    why = " ".join(context.get_usage().split()).replace("Usage:", "usage:") if context else ""
    word, known = "", []
    if hasattr(error, "option_name"):
        what, word = error.message, error.option_name
        parameters = context.command.params if context else ()
        known = [*GLOBAL_OPTIONS, *(name for parameter in parameters for name in parameter.opts)]
    else:
        what = error.format_message().replace("Value error, ", "")
    if what.startswith("No such command"):
        what, word = what.partition(". Did you mean")[0], what.partition("'")[2].partition("'")[0]
        known = context.command.list_commands(context)
    near = difflib.get_close_matches(word, known, n=3)
    remedy = f"run `{where} --help`"
    if near and word not in known:
        remedy = f"did you mean {' or '.join(near)}? Else {remedy}"
    return Problem(what[:1].lower() + what[1:].rstrip("."), where, why, remedy)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
