"""Everything a verb needs from the outside, handed in as one value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from builder.foundation.place import Cache, Project
from builder.foundation.process import Runner
from builder.foundation.progress import Progress, Quiet


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Workbench:
    """The project, the cache and the effects (processes, progress, clock, mirrors) of one run.

    Attributes:
        mirrors: ``ARCHIVE=URL`` given by the person; the machine's apt configuration is asked when empty.
        indices: base URLs of Python package indices given by the person; pip's configuration when empty.
        module_key: file with the private key that modules of a project's own kernel are signed with; None leaves them
            unsigned.
        secure_boot_key: file with the private key that UKIs are signed with for Secure Boot; None leaves them unsigned.
        snapshot: base URL of a service that keeps all earlier states of Debian's archives; none when empty.
    """

    project: Project
    cache: Cache
    runner: Runner = field(default_factory=Runner)
    progress: Progress = field(default_factory=Quiet)
    clock: Callable[[], datetime] = _now
    mirrors: tuple[str, ...] = ()
    indices: tuple[str, ...] = ()
    snapshot: str = ""
    module_key: Path | None = None
    secure_boot_key: Path | None = None
