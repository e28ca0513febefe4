"""Programs of the locked tools tree, run without installing anything on the host.

mkosi brings a small sandbox program, a single Python file; it enters the tools tree as the root file system
and keeps the host's network and processes.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TOOLS_PATH = "/usr/bin:/usr/sbin"


@dataclass(frozen=True)
class Toolbox:
    """A built tools tree and the mkosi of the lock.

    Attributes:
        tree: root of the tools tree, a Debian system with QEMU, repart, ukify and their kin.
        mkosi: folder that holds the ``mkosi`` Python package.
    """

    tree: Path
    mkosi: Path

    def command(
        self,
        argv: Sequence[str | Path],
        *,
        writable: Sequence[Path] = (),
        readable: Sequence[Path] = (),
        binds: Sequence[tuple[Path, str]] = (),
        env: Mapping[str, str] | None = None,
        network: bool = False,
        devices: bool = False,
    ) -> list[str]:
        """``argv`` as a command line for the host that runs inside the tools tree.

        Args:
            writable: host paths visible inside at the same place.
            readable: the same, read-only.
            binds: host path and the other place inside where it is writable.
            env: variables besides ``PATH`` and ``LANG``; nothing else of the host's environment gets in.
            network: keep the host's network (QEMU's port forwards need it).
            devices: all of the host's ``/dev`` (acceleration needs ``/dev/kvm``) instead of null, zero and the like.
        """
        words = [sys.executable, "-I", str(self.mkosi / "mkosi" / "sandbox.py")]
        words += ["--ro-bind", str(self.tree / "usr"), "/usr", "--ro-bind", str(self.tree / "etc"), "/etc"]
        for name in ("bin", "sbin", "lib", "lib64"):
            words += ["--symlink", f"usr/{name}", f"/{name}"]
        words += ["--bind", "/proc", "/proc", *(["--bind", "/dev", "/dev"] if devices else ["--dev", "/dev"])]
        words += ["--dir", "/run", "--dir", "/var", "--tmpfs", "/tmp"]  # noqa: S108 (inside the sandbox)
        for paths, option in ((readable, "--ro-bind"), (writable, "--bind")):
            for path in paths:
                words += [option, str(path), str(path)]
        for path, inside in binds:
            words += ["--bind", str(path), inside]
        if not network:
            words.append("--unshare-net")
        words.append("--")
        variables = {"PATH": TOOLS_PATH, "LANG": "C.UTF-8", **(env or {})}
        words += ["/usr/bin/env", "-i", *(f"{name}={value}" for name, value in sorted(variables.items()))]
        return words + [str(word) for word in argv]
