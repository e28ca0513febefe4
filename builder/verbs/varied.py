"""The build that ``lichen verify`` runs on another host, as a process of its own: ``python -m builder.verbs.varied``.

Its one argument is JSON, an :class:`Order`; what it writes to standard output is one :class:`Event` a line.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator

from builder.data.model import Frozen, _tuple
from builder.data.variation import Circumstances
from builder.foundation.atomic import disk_error
from builder.foundation.errors import LichenError
from builder.foundation.place import Cache, Project
from builder.foundation.workbench import Workbench
from builder.steps.components import RECORD
from builder.verbs.build import build
from builder.verbs.kernel import kernel_packages

_STAMP = re.compile(r"(\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2})")


class Order(Frozen):
    """What to build: an image, or only the packages of its own kernel."""

    project: str
    cache: str
    profile: str
    architecture: str
    circumstances: Circumstances
    module_key: str | None = None
    kernel: bool = False
    secure_boot_key: str | None = None


class Event(Frozen):
    """Something that happened.

    Attributes:
        kind: progress (started, finished, failed, note), or how it ended (built, wrong).
        text: name of the step, the note, or the folder of what was built.
        problems: each with its four parts, when it ended wrong.
        clock: seconds by which packages' scripts saw the clock shifted; None when they left no trace of it.
    """

    kind: Literal["started", "finished", "failed", "note", "built", "wrong"]
    text: str = ""
    seconds: float = 0.0
    problems: Annotated[tuple[dict[str, str], ...], BeforeValidator(_tuple)] = ()
    clock: int | None = None


class Teller:
    """Progress that goes to whoever started us."""

    def started(self, step: str) -> None:
        """One event."""
        tell(Event(kind="started", text=step))

    def advanced(self, step: str, done: int, total: int) -> None:
        """Not told: only downloads advance, and there are none."""

    def finished(self, step: str, seconds: float, failed: bool) -> None:
        """One event."""
        tell(Event(kind="failed" if failed else "finished", text=step, seconds=seconds))

    def note(self, text: str) -> None:
        """One event."""
        tell(Event(kind="note", text=text))


def tell(event: Event) -> None:
    """Write one line at once; threads do not mix lines of less than a page."""
    os.write(1, event.model_dump_json().encode() + b"\n")


def main(order: Order) -> None:
    """Build, and tell how it ended. Only bugs raise."""
    workbench = Workbench(
        Project(Path(order.project)),
        Cache(Path(order.cache)),
        progress=Teller(),
        module_key=Path(order.module_key) if order.module_key else None,
        secure_boot_key=Path(order.secure_boot_key) if order.secure_boot_key else None,
    )
    begin = time.monotonic()
    try:
        folder = (_kernel if order.kernel else _image)(workbench, order)
    except LichenError as error:
        tell(Event(kind="wrong", problems=tuple(problem.as_dict() for problem in error.problems)))
        return
    seconds = round(time.monotonic() - begin, 1)
    tell(Event(kind="built", text=str(folder), seconds=seconds, clock=clock_seen(workbench.cache)))


def _image(workbench: Workbench, order: Order) -> Path:
    return build(workbench, order.profile, order.architecture, order.circumstances).folder


def _kernel(workbench: Workbench, order: Order) -> Path:
    """A copy beside images: the cache may lie on a file system that is gone when this process ends."""
    packages = kernel_packages(workbench, order.profile, order.architecture, order.circumstances)
    copy = workbench.project.images / "kernel"
    try:
        shutil.copytree(packages, copy)
    except OSError as error:
        raise disk_error(error, copy) from error
    return copy


def clock_seen(cache: Cache) -> int | None:
    """Seconds by which a package's script was ahead of the true time, as it left them in a log of the base tree."""
    for record in cache.components.glob(f"base/*/{RECORD}"):
        with contextlib.suppress(OSError):
            stamps = _STAMP.findall((record.parent / "base/var/log/alternatives.log").read_text(errors="replace"))
            if stamps:
                # The tree has no zone: UTC. The record is as old as the tree, whose own files have the lock's date.
                then = datetime.strptime(stamps[-1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
                return round(then.timestamp() - record.stat().st_mtime)
    return None


if __name__ == "__main__":
    main(Order.model_validate_json(sys.argv[1]))
