"""pytest plugin for tests that run against a booted image: what they may know about it, as fixtures.

``lichen test`` loads it with ``-p`` and names a JSON file in the environment variable :data:`VARIABLE`; its keys are
:class:`Guest`. Tests reach the guest itself through the ``host`` fixture, testinfra's Host over SSH.

Every folder of tests is put on ``sys.path``: tests of one overlay import a helper beside them by its plain name, which
must not occur in two overlays of one image. Names of test modules may.

What takes an emulated machine minutes is marked ``long``; ``lichen test --quick`` skips it, with :data:`LEFT_OUT`.
"""

from __future__ import annotations

import json
import os
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import testinfra
from testinfra.host import Host

VARIABLE = "LICHEN_GUEST"
# testinfra's own plugin, by its entry point. Its host fixture is made anew for each module, which lets no fixture of a
# whole session use the guest, and without options it means the machine that runs pytest.
TESTINFRA = "pytest11.testinfra"
REPORT_LIMIT = 4000  # characters of a failure that an event carries
LONG = "long"
LEFT_OUT = "takes long: left out of a quick run"


@dataclass(frozen=True)
class Guest:
    """All that tests may know, as the JSON file has it.

    Attributes:
        manifest: the image's whole manifest.
        tests: each folder of tests and the overlay that it belongs to; empty for tests of every image.
        forwards: guest port (as text, for JSON) and port of 127.0.0.1.
        secrets: credentials that the guest got at boot.
        artifacts: folder for screenshots and the like, kept beside the image.
        console: log of the serial console.
        events: file that one JSON line per finished test is appended to.
        port: of 127.0.0.1, leads to the guest's SSH server.
        ssh_config: file that makes ssh log in as root.
        quick: whether tests marked as long are skipped.
    """

    manifest: dict[str, Any]
    tests: dict[str, str]
    forwards: dict[str, int]
    secrets: dict[str, str]
    artifacts: str
    console: str
    events: str
    port: int
    ssh_config: str
    quick: bool


class Reporter:
    """Tells ``lichen test`` about each finished test while the rest still runs."""

    def __init__(self, events: Path) -> None:
        self.events = events

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that cannot be collected is a failed test."""
        if report.failed:
            self._tell(report.nodeid, "failed", 0.0, report.longreprtext)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One event per test, and one more when its clean-up fails."""
        if report.when == "call" or report.outcome != "passed":
            self._tell(report.nodeid, report.outcome, report.duration, report.longreprtext)

    def _tell(self, test: str, outcome: str, seconds: float, text: str) -> None:
        event = {"test": test, "outcome": outcome, "seconds": round(seconds, 2), "text": text[-REPORT_LIMIT:]}
        with self.events.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(event) + "\n")


_KEY = pytest.StashKey[Guest]()


def _guest(config: pytest.Config) -> Guest:
    guest = config.stash.get(_KEY, None)
    if guest is None:
        raise pytest.UsageError(f"{VARIABLE} names no guest: run these tests with `lichen test`")
    return guest


def pytest_configure(config: pytest.Config) -> None:
    """Read the guest's file and let tests import what lies beside them."""
    config.addinivalue_line("markers", f"{LONG}: takes an emulated machine minutes; not part of a quick run")
    path = os.environ.get(VARIABLE)
    if not path:
        return
    if config.pluginmanager.hasplugin(TESTINFRA):
        raise pytest.UsageError(f"run with -p no:{TESTINFRA}: these tests are for the guest, not for this machine")
    guest = Guest(**json.loads(Path(path).read_text(encoding="utf-8")))
    config.stash[_KEY] = guest
    config.pluginmanager.register(Reporter(Path(guest.events)))
    owners: dict[str, list[str]] = defaultdict(list)
    for folder in guest.tests:
        sys.path.insert(0, folder)
        for helper in Path(folder).glob("*.py"):
            if helper.name != "conftest.py" and not helper.name.startswith("test_"):
                owners[helper.name].append(str(helper))
    if doubles := [place for places in owners.values() if len(places) > 1 for place in places]:
        raise pytest.UsageError(f"helper modules of one image need different names: {', '.join(doubles)}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what a quick run leaves out; the report names each."""
    if _guest(config).quick:
        for item in items:
            if item.get_closest_marker(LONG):
                item.add_marker(pytest.mark.skip(reason=LEFT_OUT))


@pytest.fixture(scope="session")
def host(pytestconfig: pytest.Config) -> Host:
    """The guest, through testinfra."""
    guest = _guest(pytestconfig)
    # The connection is shared by a master that belongs to the machine: testinfra must not start one of its own.
    url = f"ssh://root@127.0.0.1:{guest.port}?controlpersist=0"
    return testinfra.get_host(url, ssh_config=guest.ssh_config)


@pytest.fixture(scope="session")
def manifest(pytestconfig: pytest.Config) -> dict[str, Any]:
    """The image's manifest: packages, wheels, overlays, options, artefacts."""
    return _guest(pytestconfig).manifest


@pytest.fixture(scope="session")
def image(manifest: dict[str, Any]) -> dict[str, Any]:
    """What the image claims to be: hostname, layout, root_filesystem, architecture, profile, overlays, kernel."""
    names = ("hostname", "layout", "root_filesystem", "architecture", "profile", "overlays", "kernel")
    return {name: manifest[name] for name in names}


@pytest.fixture(scope="module")
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Options of the overlay that the test belongs to, with their values in this image."""
    guest = _guest(request.config)
    for folder, overlay in guest.tests.items():
        if request.path.is_relative_to(folder):
            return dict(guest.manifest["options"].get(overlay, {}))
    return {}


@pytest.fixture(scope="session")
def forwards(pytestconfig: pytest.Config) -> dict[int, int]:
    """Guest port and the port of 127.0.0.1 that leads to it."""
    return {int(guest): host for guest, host in _guest(pytestconfig).forwards.items()}


@pytest.fixture(scope="session")
def secrets(pytestconfig: pytest.Config) -> dict[str, str]:
    """Credentials that the guest got at boot, by name."""
    return _guest(pytestconfig).secrets


@pytest.fixture(scope="session")
def artifacts(pytestconfig: pytest.Config) -> Path:
    """Where tests may leave files for people, such as screenshots."""
    return Path(_guest(pytestconfig).artifacts)


@pytest.fixture(scope="session")
def machine_console(pytestconfig: pytest.Config) -> Path:
    """Log of the guest's serial console so far."""
    return Path(_guest(pytestconfig).console)
