"""What is wrong with a rule file, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Place:
    """A spot in a rule file; line and column count from 1."""

    file: str
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, order=True)
class Problem:
    """A fault: what it is, why it is one, what to do."""

    place: Place
    what: str
    why: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.place}: {self.what}: {self.why}; {self.remedy}"


class RulesError(Exception):
    """Rule files that cannot be used.

    Attributes:
        problems: all of them, in the order of the files.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class Fault(Exception):
    """One :class:`Problem` on its way to whoever collects them."""

    def __init__(self, place: Place, what: str, why: str, remedy: str) -> None:
        self.problem = Problem(place, what, why, remedy)
        super().__init__(str(self.problem))
