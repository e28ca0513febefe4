"""What tests of an image get to know, and what a run of them leaves; the guest itself is a stand-in."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from builder.data.manifest import Manifest
from builder.foundation.errors import GuestTestError
from builder.foundation.process import Runner
from builder.foundation.toolbox import Toolbox
from builder.foundation.workbench import Workbench
from builder.steps.guest_plugin import LEFT_OUT
from builder.steps.machine import Machine
from builder.steps.machine.secureshell import SecureShell
from builder.verbs import imagetest
from builder.verbs.boot import Request
from tests.machine.conftest import MakeGuest

PAINT = """
import paint_client

def test_knows_its_own_options(options, image, manifest):
    assert options == {"colour": "red"}
    assert image["hostname"] == "tiny"
    assert manifest["ports"] == [443]

def test_knows_the_machine(forwards, secrets, artifacts, machine_console):
    assert forwards == {443: 4443, 22: 2222}
    assert len(secrets["paint.password"]) > 20
    assert set(secrets) == {"paint.password"}
    (artifacts / "picture").write_text(machine_console.read_text())

def test_has_its_own_conftest_and_helper(who):
    assert (who, paint_client.NAME) == ("paint", "paint")
"""
SOUND = """
def test_knows_its_own_options(options, who):
    assert options == {}
    assert who == "sound"
"""
CONFTEST = "import pytest\n@pytest.fixture\ndef who(): return {!r}\n"
OVERLAY = "description: paint\ncredentials: {paint.password: of the painter, paint.key: not made up}\n"


class StandIn:
    """Plays a booted machine for a session of pytest that never logs in."""

    def __init__(self, folder: Path) -> None:
        self.ports = {22: 2222, 443: 4443}
        self.shell = SecureShell(folder, 2222, Runner())
        self.console_log = folder / "console.log"
        self.console_log.write_text("hello\n")

    def ssh_config(self, path: Path) -> Path:
        path.write_text("")
        return path

    def complaints(self) -> str:
        return "sad.service failed\n"

    def check(self) -> None:
        """The guest panics as soon as a test asks for it."""
        if (self.console_log.parent / "artifacts" / "panic").exists():
            raise GuestTestError([])


Run = Callable[..., imagetest._Session]


@pytest.fixture
def project(workbench: Workbench) -> Path:
    """A project with two overlays whose tests have the same names, and a conftest that is not for guests."""
    root = workbench.project.root
    for name, tests in (("paint", PAINT), ("sound", SOUND)):
        folder = root / "overlays" / name / "tests"
        folder.mkdir(parents=True)
        (folder / "test_it.py").write_text(tests)
        (folder / "conftest.py").write_text(CONFTEST.format(name))
    (root / "overlays/paint/overlay.yaml").write_text(OVERLAY)
    (root / "overlays/paint/tests/paint_client.py").write_text("NAME = 'paint'\n")
    (root / "tests/image").mkdir(parents=True)
    (root / "tests/conftest.py").write_text("raise RuntimeError('not for guests')\n")
    (root / "tests/image/test_all.py").write_text("def test_true_of_all(options): assert options == {}\n")
    (root / "pyproject.toml").write_text("[tool.pytest.ini_options]\naddopts = '--no-such-option'\n")
    return root


@pytest.fixture
def run(workbench: Workbench, manifest: Manifest, project: Path, tmp_path: Path) -> Run:
    """Run the project's tests against the stand-in."""

    def run(timeout: float = 120, *, quick: bool = False) -> imagetest._Session:
        results, work = tmp_path / "tiny.test", tmp_path / "work"
        results.mkdir()
        work.mkdir()
        given = imagetest.make_secrets(workbench.project, manifest)
        session = imagetest._Session(workbench, cast(Machine, StandIn(results)), results, work, quick=quick)
        session.run(manifest, imagetest.find_tests(workbench.project, manifest), given, timeout)
        return session

    return run


def test_tests_of_all_overlays_run_together(run: Run) -> None:
    session = run()
    assert [(event.test, event.outcome) for event in session.events] == [
        ("tests/image/test_all.py::test_true_of_all", "passed"),
        ("overlays/paint/tests/test_it.py::test_knows_its_own_options", "passed"),
        ("overlays/paint/tests/test_it.py::test_knows_the_machine", "passed"),
        ("overlays/paint/tests/test_it.py::test_has_its_own_conftest_and_helper", "passed"),
        ("overlays/sound/tests/test_it.py::test_knows_its_own_options", "passed"),
    ]
    assert (session.folder / "artifacts" / "picture").read_text() == "hello\n"
    suite = ElementTree.parse(session.folder / "tests.xml").getroot().find("testsuite")
    assert suite is not None
    assert suite.get("tests") == "5"
    assert not (session.folder / "guest-errors.txt").exists()


def test_tests_leave_the_project_as_it_was(run: Run, project: Path) -> None:
    before = sorted(project.rglob("*"))
    run()
    assert sorted(project.rglob("*")) == before


def test_each_failed_test_is_told(run: Run, project: Path, tmp_path: Path) -> None:
    (project / "tests/image/test_all.py").write_text(
        "def test_one(): assert 1 == 2\ndef test_two(): assert 'a' == 'b'\n"
    )
    with pytest.raises(GuestTestError) as caught:
        run()
    assert caught.value.exit_code == 3
    assert [problem.where.rpartition("::")[2] for problem in caught.value.problems] == ["test_one", "test_two"]
    assert "assert 1 == 2" in caught.value.problems[0].why
    assert "pytest.log" in caught.value.problems[0].remedy
    assert (tmp_path / "tiny.test/guest-errors.txt").read_text() == "sad.service failed\n"
    assert (tmp_path / "tiny.test/tests.xml").exists()


def test_quick_run_skips_what_takes_long_and_says_so(run: Run, project: Path) -> None:
    (project / "tests/image/test_all.py").write_text(
        "import pytest\n@pytest.mark.long\ndef test_hours(): assert False\ndef test_moments(): pass\n"
    )
    session = run(quick=True)
    told = {event.test.rpartition("::")[2]: event.outcome for event in session.events}
    assert (told["test_hours"], told["test_moments"]) == ("skipped", "passed")
    log = (session.folder / "pytest.log").read_text()
    assert LEFT_OUT in log
    assert "PytestUnknownMarkWarning" not in log


def test_whole_run_has_what_takes_long(run: Run, project: Path) -> None:
    (project / "tests/image/test_all.py").write_text(
        "import pytest\n@pytest.mark.long\ndef test_hours(): assert False\n"
    )
    with pytest.raises(GuestTestError, match="test_hours"):
        run()


def test_broken_test_file_is_a_failure(run: Run, project: Path) -> None:
    (project / "overlays/sound/tests/test_it.py").write_text("import no_such_module\n")
    with pytest.raises(GuestTestError, match="no_such_module"):
        run()


def test_no_test_is_a_failure(run: Run, project: Path) -> None:
    for path in project.rglob("test_*.py"):
        path.write_text("")
    with pytest.raises(GuestTestError, match="no test was found"):
        run()


def test_two_helpers_of_one_name_are_refused(run: Run, project: Path) -> None:
    (project / "overlays/sound/tests/paint_client.py").write_text("")
    with pytest.raises(GuestTestError, match="need different names"):
        run()


def test_hanging_test_is_ended_and_the_report_is_written(run: Run, project: Path, tmp_path: Path) -> None:
    (project / "tests/image/test_all.py").write_text("import time\ndef test_sleepy(): time.sleep(1000)\n")
    with pytest.raises(GuestTestError, match="no test ended within 20 s"):
        run(timeout=20)
    assert (tmp_path / "tiny.test/tests.xml").exists()


def test_time_is_counted_from_one_test_to_the_next(run: Run, project: Path) -> None:
    (project / "tests/image/test_all.py").write_text(
        "import pytest, time\n@pytest.mark.parametrize('n', range(5))\ndef test_slow(n): time.sleep(5)\n"
    )
    session = run(timeout=20)
    assert len([event for event in session.events if "test_slow" in event.test]) == 5


def test_panic_during_the_tests_ends_them(run: Run, project: Path, tmp_path: Path) -> None:
    (project / "tests/image/test_all.py").write_text(
        "import time\ndef test_fatal(artifacts):\n    (artifacts / 'panic').touch()\n    time.sleep(1000)\n"
    )
    with pytest.raises(GuestTestError):
        run(timeout=100_000)
    assert (tmp_path / "tiny.test/tests.xml").exists()


def test_guest_that_never_boots_leaves_its_console(
    toolbox: Toolbox, workbench: Workbench, make_guest: MakeGuest, manifest: Manifest
) -> None:
    image = make_guest("Kernel panic - not syncing: no init\r\n").image.parent
    (image / "manifest.json").write_text(manifest.text())
    (image.parent / "image.test").mkdir()
    (image.parent / "image.test" / "old").write_text("of an earlier run")
    before = {path.name: path.read_bytes() for path in image.iterdir()}
    request = Request(kind="tcg", memory=256, cpus=1)
    with pytest.raises(GuestTestError, match="kernel panicked"):
        imagetest.run_image_tests(workbench, toolbox, image, request)
    assert {path.name: path.read_bytes() for path in image.iterdir()} == before
    left = sorted(path.name for path in imagetest.results_folder(image).iterdir())
    assert left == ["console.log", "qemu.log"]


def test_secrets_are_made_for_passwords_only(workbench: Workbench, manifest: Manifest, project: Path) -> None:
    first, second = (imagetest.make_secrets(workbench.project, manifest) for _ in range(2))
    assert set(first) == {"paint.password"}
    assert first != second


def test_tests_of_absent_overlays_are_not_run(workbench: Workbench, manifest: Manifest, project: Path) -> None:
    smaller = manifest.model_copy(update={"overlays": ("sound", "gone")})
    assert imagetest.find_tests(workbench.project, smaller) == {
        project / "tests/image": "",
        project / "overlays/sound/tests": "sound",
    }
