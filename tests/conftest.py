"""Fixtures for tests that run the real thing: apt, mkosi, QEMU.

They use this machine's ordinary cache (``LICHEN_CACHE`` or ``~/.cache/lichen``): what is fetched and built once serves
the next run too.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

from builder.foundation.place import Cache, Project, default_cache
from builder.foundation.process import Runner
from builder.foundation.toolbox import Toolbox
from builder.foundation.workbench import Workbench
from builder.verbs.build import provide_toolbox
from builder.verbs.lock import lock
from builder.verbs.plan import make_plan

# A shell that starts us in the background lets us ignore Ctrl-C, and so do all processes that tests start to interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Project(Path(__file__).resolve().parents[1])
CLASSROOM = "classroom-jupyterhub"

SMALL_PROFILE = """\
description: The smallest image that boots and lets somebody in; for tests.
architectures: [amd64]
image: {hostname: small, root_size: 1536M}
kernel: {package: linux-image-cloud-amd64, command_line: [console=ttyS0]}
overlays: [base-system, ssh]
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    told = "write the golden files anew instead of only comparing (ci/golden does it)"
    parser.addoption("--refresh-golden", action="store_true", help=told)
    told = "run what takes long too: more images, of other architectures among them, and more moments of faults; hours"
    parser.addoption("--all", action="store_true", help=told)


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--refresh-golden"):
        os.environ["LICHEN_REFRESH_GOLDEN"] = "1"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # The longest files go first, or one process works through one alone when all others are done.
    items.sort(key=_how_short)
    if not config.getoption("--all"):
        reason = pytest.mark.skip(reason="takes long: run `ci/test --all`")
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(reason)


def _how_short(item: pytest.Item) -> int:
    if "classroom" in getattr(item, "fixturenames", ()):
        return 0
    return 1 if item.path.parent.name == "verify" else 2


# A user namespace may say that there are none below it: the kernel then refuses, as one before Linux 6.7 does.
_REFUSING = 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"'


class RefusingRunner(Runner):
    """Starts every process where the kernel allows no user namespace."""

    @contextmanager
    def started(self, argv: Sequence[str | Path], **more: Any) -> Iterator[Popen[bytes]]:
        words = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", _REFUSING, "refusing", *map(str, argv)]
        with super().started(words, **more) as process:
            yield process


@pytest.fixture
def refusing() -> Runner:
    """Starts processes as a kernel does that cannot give a user namespace handlers of its own."""
    return RefusingRunner()


@pytest.fixture(scope="session")
def cache() -> Cache:
    """This machine's cache, shared with ordinary use."""
    return default_cache()


@pytest.fixture(scope="session")
def toolbox(cache: Cache) -> Toolbox:
    """The tools tree of the classroom's lock, built when it is not kept yet."""
    return provide_toolbox(Workbench(REPOSITORY, cache), CLASSROOM)


@pytest.fixture(scope="session")
def own_kernel(cache: Cache, pytestconfig: pytest.Config) -> str:
    """Why the classroom's own kernel is not to be had, or nothing: then it is kept, or was asked for.

    It takes two processors an hour to compile, which on a fresh machine is more than all of the tests.
    """
    if pytestconfig.getoption("--all") or make_plan(Workbench(REPOSITORY, cache), CLASSROOM).component("kernel").cached:
        return ""
    return f"the kernel of {CLASSROOM} is not compiled yet: `lichen build {CLASSROOM}` or `ci/test --all`, an hour"


@pytest.fixture(scope="session")
def compiled_kernel(own_kernel: str) -> None:
    """For tests of the classroom's own kernel."""
    if own_kernel:
        pytest.skip(own_kernel)


@pytest.fixture(scope="session")
def small_project(tmp_path_factory: pytest.TempPathFactory, cache: Cache) -> Project:
    """A project of its own with the profile ``small``, locked against the real archive. Copy it to change it."""
    project = Project(tmp_path_factory.mktemp("small"))
    project.profiles.mkdir()
    for overlay in ("base-system", "ssh"):
        shutil.copytree(REPOSITORY.overlays / overlay, project.overlays / overlay, symlinks=True)
    (project.profiles / "small.yaml").write_text(SMALL_PROFILE)
    # The suite that mkosi comes from is a rolling one; a mirror that lags a week serves it expired.
    lock(Workbench(project, cache), "small", accept_expired=frozenset({"forky"}))
    return project


def ended(pid: int) -> bool:
    """Whether a process is gone, or waits only for a parent to notice: the first process of a container may not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
