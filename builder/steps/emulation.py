"""How the scripts of another architecture's packages run here: on QEMU's emulator of single programs.

The kernel starts it for every foreign program, once a handler is registered. Since Linux 6.7 a user namespace can have
handlers of its own: the locked emulator of the tools tree is registered there, for one build. The host needs nothing,
keeps nothing, and what an image was built with is the same everywhere. On older kernels the host's handlers serve.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from builder.data.handler import complaint, handles, rule
from builder.data.profile import Architecture
from builder.data.toolchain import BUILD_ARCHITECTURE
from builder.foundation.errors import LichenError, Problem
from builder.foundation.process import Runner
from builder.foundation.userns import entered, handled

PROC = Path("/proc")
_HANDLERS = "sys/fs/binfmt_misc"
_INSTALL = "apt-get install qemu-user-static binfmt-support (Debian 13: qemu-user-binfmt)"
_MOUNT = "mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc"

Way = Literal["native", "own", "host"]


@dataclass(frozen=True)
class Emulation:
    """Whether programs of an architecture run here.

    Attributes:
        way: ``native`` needs none, ``own`` registers the locked emulator for each build, ``host`` relies on a handler
            of this machine; None when there is no way.
        found: what was found, for people.
        remedy: what to do when there is no way.
    """

    architecture: Architecture
    way: Way | None
    found: str
    remedy: str = ""

    @property
    def ours(self) -> Architecture | None:
        """The architecture whose emulator a build registers; None when it need not."""
        return self.architecture if self.way == "own" else None


def find_emulation(runner: Runner, architecture: Architecture, proc: Path = PROC) -> Emulation:
    """How programs of ``architecture`` run on this machine; nothing on it changes."""
    if architecture == BUILD_ARCHITECTURE:
        return Emulation(architecture, "native", "the host's own")
    if not (refusal := _refusal(runner, architecture)):
        return Emulation(architecture, "own", "the locked emulator, registered for each build by itself")
    folder = proc / _HANDLERS
    found, remedy = f"no handler for {architecture} is registered", _INSTALL
    if not (folder / "status").exists():
        found, remedy = f"binfmt_misc is not mounted on {folder}", f"{_MOUNT}, then {_INSTALL}"
    for file in sorted(folder.glob("*")):
        text = file.read_text(errors="replace") if file.name not in ("register", "status") else ""
        if handles(text, architecture):
            if not (lack := complaint(text)):
                return Emulation(architecture, "host", f"the host's handler {file.name}")
            found = f"{file.name} {lack}"
    why = f"a build cannot register a handler for itself ({refusal}), and {found}"
    return Emulation(architecture, None, why, f"run Linux 6.7 or newer, or as root `{remedy}`")


def require_emulation(runner: Runner, architecture: Architecture, proc: Path = PROC) -> Emulation:
    """As :func:`find_emulation`.

    Raises:
        LichenError: there is no way.
    """
    emulation = find_emulation(runner, architecture, proc)
    if emulation.way is None:
        what = f"programs for {architecture} do not run on this machine"
        raise LichenError(Problem(what, "scripts of the image's packages", emulation.found, emulation.remedy))
    return emulation


def _refusal(runner: Runner, architecture: Architecture) -> str:
    """Why a user namespace cannot have a handler of its own; empty when it can."""
    with tempfile.TemporaryDirectory(prefix="lichen-handlers-") as name:
        # Any program stands in for the emulator, which may not be there yet; nothing is run on it.
        words = handled(rule(architecture, "/bin/sh"), Path(name) / "handlers", ["true"])
        words = ["unshare", "--mount", "--propagation", "private", *words]
        # Builds want root; whoever only asks may be anybody, and has one user to map.
        command = entered(words) if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", *words]
        done = runner.run(command, timeout=60, check=False)
    lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    return lines[-1] if done.returncode else ""
