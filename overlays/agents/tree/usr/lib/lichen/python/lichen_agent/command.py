"""The end of an agent's command: what went wrong in words, and an exit code."""

from __future__ import annotations

import argparse
import sys

from .control import ControlError

FAILED, NOT_RUNNING = 1, 3


def run(parser: argparse.ArgumentParser, arguments: list[str] | None, *failures: type[Exception]) -> None:
    """Run the function that the chosen command has as ``run``, and exit with what it returns.

    Args:
        failures: what it may raise besides OSError; the message is told, and the code is :data:`FAILED`.
    """
    options = parser.parse_args(arguments)
    try:
        code = options.run(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        # Whoever reads has seen enough. Python would complain at its end otherwise.
        sys.stdout = None
        code = 0
    except ControlError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        code = NOT_RUNNING
    except (OSError, *failures) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        code = FAILED
    sys.exit(code)
