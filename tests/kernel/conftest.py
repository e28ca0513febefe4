"""The kernel's own Kconfig, for trees of a few lines that tests write."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

TOOLS = "LICHEN_KCONFIG_TOOLS"


@dataclass(frozen=True)
class KconfigTools:
    """``conf`` of a kernel's scripts/kconfig, and ``why``, linked with its objects; both in ``folder``."""

    folder: Path

    def configure(self, tree: Path, asked: str) -> tuple[str, str]:
        """Takes what is asked for into the configuration of ``tree``, which has a ``Kconfig``.

        Returns:
            The final configuration, and what ``why`` answers.
        """
        (tree / ".config").write_text(asked)
        self._run(tree, "conf", "--olddefconfig", "Kconfig")
        answers = self._run(tree, "why", "Kconfig", typed=asked)
        return (tree / ".config").read_text(), answers

    def _run(self, tree: Path, program: str, *arguments: str, typed: str = "") -> str:
        environment = {"PATH": os.environ["PATH"], "srctree": str(tree)}
        command = [str(self.folder / program), *arguments]
        done = subprocess.run(
            command, cwd=tree, env=environment, input=typed, text=True, capture_output=True, check=True
        )
        return done.stdout


@pytest.fixture(scope="session")
def kconfig_tools() -> KconfigTools:
    if not (folder := os.environ.get(TOOLS)):
        pytest.fail(
            f"{TOOLS} must name a folder with `conf` and `why`, as templates/kernel-config/configure makes them"
        )
    return KconfigTools(Path(folder))
