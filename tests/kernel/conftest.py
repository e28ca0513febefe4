"""The kernel's own Kconfig, for trees of a few lines that tests write."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from builder.foundation.place import Cache
from builder.foundation.process import Runner
from builder.foundation.toolbox import Toolbox
from builder.foundation.workbench import Workbench
from builder.verbs.build import provide_component
from tests.conftest import CLASSROOM, REPOSITORY

# The sandbox keeps no working folder.
_WITHIN = 'cd "$1" && shift && exec "$@"'


@dataclass(frozen=True)
class KconfigTools:
    """``conf`` of a kernel's scripts/kconfig, and ``why``, linked with its objects; both in ``folder``.

    They run in the toolchain tree, which they were compiled for.
    """

    folder: Path
    toolchain: Toolbox

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
        inside: list[str | Path] = ["sh", "-c", _WITHIN, "sh", tree, self.folder / program, *arguments]
        command = self.toolchain.command(
            inside, writable=[tree], readable=[self.folder], env={"srctree": str(tree), "TERM": "dumb"}
        )
        return Runner().run(command, stdin=typed).stdout


@pytest.fixture(scope="session")
def kconfig_tools(cache: Cache, toolbox: Toolbox) -> KconfigTools:
    bench = Workbench(REPOSITORY, cache)
    folder = provide_component(bench, CLASSROOM, "kernel-config") / "kernel-config/kconfig"
    tree = provide_component(bench, CLASSROOM, "toolchain") / "toolchain"
    return KconfigTools(folder, Toolbox(tree, toolbox.mkosi))
