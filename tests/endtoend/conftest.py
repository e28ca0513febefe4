"""The classroom as a user builds it, and machines booted from it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from builder.foundation.place import Cache, Project
from builder.foundation.process import Runner
from builder.foundation.toolbox import Toolbox
from builder.foundation.workbench import Workbench
from builder.steps.machine import Machine
from builder.verbs.boot import Request, acceleration, specify
from builder.verbs.build import BuiltImage, build
from builder.verbs.lock import lock
from tests.conftest import CLASSROOM, REPOSITORY

Booter = Callable[..., Machine]


class Spoken:
    """Progress as plain lines: these steps take minutes, and somebody is waiting."""

    def started(self, step: str) -> None:
        """Say so."""
        print(f"  {step} …", file=sys.__stderr__, flush=True)

    def advanced(self, step: str, done: int, total: int) -> None:
        """Too often to say."""

    def finished(self, step: str, seconds: float, failed: bool) -> None:
        """Say so, with the duration."""
        print(f"  {step} {'failed' if failed else 'done'} after {seconds:.0f} s", file=sys.__stderr__, flush=True)

    def note(self, text: str) -> None:
        """Say it."""
        print(f"  {text}", file=sys.__stderr__, flush=True)


@pytest.fixture(scope="session")
def workbench(cache: Cache, own_kernel: str, tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    """The repository itself and this machine's cache.

    Where the classroom's own kernel would have to be compiled first: a copy of the project whose classroom boots
    Debian's cloud kernel, locked anew.
    """
    if not own_kernel:
        return Workbench(REPOSITORY, cache, progress=Spoken())
    project = Project(tmp_path_factory.mktemp("project"))
    for part in ("profiles", "overlays", "kernel-configs", "tests/image"):
        shutil.copytree(REPOSITORY.root / part, project.root / part, symlinks=True)
    path = project.profiles / f"{CLASSROOM}.yaml"
    # `null` takes back what parents say.
    kernel = {"source": None, "fragments": None, "package": "linux-image-cloud-amd64"}
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"kernel": kernel}))
    bench = Workbench(project, cache, progress=Spoken())
    bench.progress.note(f"the classroom boots Debian's cloud kernel here: {own_kernel}")
    # mkosi comes from a rolling suite; a mirror that lags a week serves it expired.
    lock(bench, CLASSROOM, accept_expired=frozenset({"forky"}))
    return bench


@pytest.fixture(scope="session")
def classroom(workbench: Workbench) -> BuiltImage:
    """The classroom image, built from its lock."""
    return build(workbench, CLASSROOM)


@pytest.fixture
def boot(workbench: Workbench, toolbox: Toolbox, classroom: BuiltImage, tmp_path: Path) -> Iterator[Booter]:
    """Boots a fresh copy of the classroom with a data disk and credentials; call it with the copy's name."""
    with ExitStack() as stack:

        def start(name: str, data_disk: Path | None = None, credentials: Mapping[str, str] | None = None) -> Machine:
            kind = acceleration(workbench, toolbox, "amd64", None).kind
            request = Request(data_disk=data_disk, credentials=credentials or {})
            folder = tmp_path / name
            folder.mkdir()
            machine = Machine(
                toolbox, specify(classroom.folder, classroom.manifest, request, kind), folder, runner=Runner()
            )
            stack.enter_context(machine)
            machine.wait_for_ssh()
            machine.wait_booted()
            return machine

        yield start
