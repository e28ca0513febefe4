"""What the global options say, and the workbench made from it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from builder.cli.progress import reporter
from builder.foundation.errors import InputError, Problem
from builder.foundation.place import Cache, Project, default_cache, find_project
from builder.foundation.workbench import Workbench

# Long global options and whether they take a value.
GLOBAL_OPTIONS = {
    "--project": True,
    "--cache": True,
    "--mirror": True,
    "--index": True,
    "--snapshot": True,
    "--module-key": True,
    "--secure-boot-key": True,
    "--json": False,
    "--verbose": False,
}


@dataclass(frozen=True)
class Session:
    """One run of the command line.

    Attributes:
        json: results and errors as JSON on standard output.
        verbose: tell when steps begin, and what lay beneath an error.
    """

    project_folder: Path | None = None
    cache_folder: Path | None = None
    mirrors: tuple[str, ...] = ()
    indices: tuple[str, ...] = ()
    snapshot: str = ""
    module_key: Path | None = None
    secure_boot_key: Path | None = None
    json: bool = False
    verbose: bool = False

    def project(self) -> Project:
        """The project that was named, else the one that the current folder lies in.

        Raises:
            InputError: there is none.
        """
        if self.project_folder is None:
            return find_project(Path.cwd())
        root = self.project_folder.absolute()
        if not (root / "profiles").is_dir() or not (root / "overlays").is_dir():
            remedy = "give --project the folder that holds both"
            raise InputError(
                Problem("this is no Lichen project", str(root), "profiles/ or overlays/ is missing", remedy)
            )
        return Project(root)

    def cache(self) -> Cache:
        """The cache that was named, else this user's."""
        return Cache(self.cache_folder.absolute()) if self.cache_folder else default_cache()

    @contextlib.contextmanager
    def workbench(self, verb: str, *, live: bool = True) -> Iterator[Workbench]:
        """Everything that a verb needs; progress is shown on standard error while the block runs.

        Args:
            live: progress may move the cursor of a terminal.

        Raises:
            InputError: there is no project.
        """
        project = self.project()
        with reporter(verb, sys.stderr, verbose=self.verbose, live=live) as progress:
            yield Workbench(
                project=project,
                cache=self.cache(),
                progress=progress,
                mirrors=self.mirrors,
                indices=self.indices,
                snapshot=self.snapshot,
                module_key=self.module_key.absolute() if self.module_key else None,
                secure_boot_key=self.secure_boot_key.absolute() if self.secure_boot_key else None,
            )


def hoist(arguments: Sequence[str]) -> list[str]:
    """``arguments`` with the global options moved to the front, where the parser wants them.

    So ``lichen list --json`` and ``lichen --json list`` are the same. Nothing behind ``--`` is moved.
    """
    front: list[str] = []
    rest: list[str] = []
    waiting = list(arguments)
    last: list[str] = []
    while waiting:
        word = waiting.pop(0)
        if word == "--":
            rest += [word, *waiting]
            break
        takes_value = GLOBAL_OPTIONS.get(word.partition("=")[0])
        if takes_value is None:
            rest.append(word)
        elif "=" in word or not takes_value:
            front.append(word)
        elif waiting:
            front += [word, waiting.pop(0)]
        else:
            # Its value is missing: alone at the end, so that the parser says so and takes no other word for it.
            rest, last = [], [word]
    return front + rest + last


def of(context: typer.Context) -> Session:
    """The session of a command."""
    session = context.find_object(Session)
    return session if session else Session()
