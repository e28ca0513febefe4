"""Errors in four parts: what failed, where, why, and what to do.

Raised anywhere, caught once, in ``builder.cli``. Anything that is not a :class:`LichenError` is a bug of
Lichen and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_TEST_FAILED = 3
EXIT_NOT_REPRODUCIBLE = 3
EXIT_INTERRUPTED = 130


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, told so that a person can mend it.

    Attributes:
        what: what failed, one sentence.
        where: file, line and key, package, or host path; empty when there is no place to point at.
        why: the reason, the failing tool's own words where they help.
        remedy: what to do next, a command where there is one.
    """

    what: str
    where: str = ""
    why: str = ""
    remedy: str = ""

    def as_dict(self) -> dict[str, str]:
        """The four parts, for ``--json``."""
        return asdict(self)


class LichenError(Exception):
    """A failure that a person can act on; carries one :class:`Problem` or several."""

    exit_code: ClassVar[int] = EXIT_FAILED

    def __init__(self, problems: Problem | Sequence[Problem]) -> None:
        self.problems: tuple[Problem, ...] = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("; ".join(f"{p.what} ({p.where}): {p.why}" for p in self.problems))


class InputError(LichenError):
    """The profile, overlay, lock or command line is wrong (exit code 2)."""

    exit_code = EXIT_BAD_INPUT


class GuestTestError(LichenError):
    """The image was built but did not boot or did not pass its tests (exit code 3)."""

    exit_code = EXIT_TEST_FAILED


class InterruptError(LichenError):
    """A person or a supervisor asked us to stop (exit code 130)."""

    exit_code = EXIT_INTERRUPTED
