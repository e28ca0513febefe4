"""Names of users and groups."""

from __future__ import annotations

import grp
import pwd
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache


@lru_cache(maxsize=1024)
def _user(number: int) -> str | None:
    try:
        return pwd.getpwuid(number).pw_name
    except (KeyError, OverflowError):
        return None


@lru_cache(maxsize=1024)
def _group(number: int) -> str | None:
    try:
        return grp.getgrgid(number).gr_name
    except (KeyError, OverflowError):
        return None


@dataclass(frozen=True)
class Names:
    """Who is behind a number; None when nobody is.

    The machine's own accounts unless others are given. What was found is kept: a rule that asks for names must not
    open files for every event.
    """

    user: Callable[[int], str | None] = _user
    group: Callable[[int], str | None] = _group
