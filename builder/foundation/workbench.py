"""Everything a verb needs from the outside, handed in as one value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from builder.foundation.place import Cache, Project
from builder.foundation.process import Runner
from builder.foundation.progress import Progress, Quiet


class ModuleSigner(Protocol):
    """Whoever can sign kernel modules: a key in a file here, a token or a service elsewhere."""

    @property
    def certificate_sha256(self) -> str:
        """SHA-256 of the signer's certificate in PEM form: the one that the kernel is built with."""

    def trailer(self, module: bytes) -> bytes:
        """What is appended to a module so that the kernel finds it signed."""


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Workbench:
    """The project, the cache and the effects (processes, progress, clock, mirrors) of one run.

    Attributes:
        mirrors: ``ARCHIVE=URL`` given by the person; the machine's apt configuration is asked when empty.
        indices: base URLs of Python package indices given by the person; pip's configuration when empty.
        module_signer: who signs the modules of a project's own kernel; None leaves them unsigned.
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
    module_signer: ModuleSigner | None = None
