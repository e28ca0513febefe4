"""What could not be had, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from builder.data.lock import LockedFile
from builder.foundation.errors import LichenError, Problem
from builder.steps.fetch.sources import title


@dataclass(frozen=True)
class Absent:
    """A file that no place gave.

    Attributes:
        reasons: for each place one line, ``BASE: REASON``.
        dropped: every place answered, and none has the file; asking again would not help.
    """

    file: LockedFile
    reasons: tuple[str, ...]
    dropped: bool


class AbsentError(LichenError):
    """Some files could not be had; ``absent`` holds all of them."""

    def __init__(self, absent: Sequence[Absent]) -> None:
        self.absent = tuple(absent)
        super().__init__(_problems(absent))


def _problems(absent: Sequence[Absent]) -> list[Problem]:
    """One problem for all files that fail for the same reasons."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for item in sorted(absent, key=lambda item: title(item.file)):
        groups.setdefault(item.reasons, []).append(title(item.file))
    remedy = (
        "check the network and run the command again, it resumes; or name another mirror (`--mirror ARCHIVE=URL`, "
        "PIP_INDEX_URL for wheels); for files that every mirror dropped, lock anew: `lichen lock PROFILE --upgrade`"
    )
    return [
        Problem(
            what=f"cannot download {'a' if len(names) == 1 else len(names)} locked file{'s'[: len(names) - 1]}",
            where="\n".join(names),
            why="\n".join(reasons),
            remedy=remedy,
        )
        for reasons, names in groups.items()
    ]
