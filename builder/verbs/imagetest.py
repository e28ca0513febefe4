"""Prove that an image boots and keeps its promises: the shipped image, in a machine, asked over SSH.

Nothing in the image folder changes; everything a test run leaves is in ``IMAGE.test/`` beside it: ``tests.xml``
(JUnit), ``console.log``, ``pytest.log``, ``qemu.log``, ``artifacts/`` and, after a failure, ``guest-errors.txt``.

The tests are those in ``overlays/NAME/tests/`` of the image's overlays, and in ``tests/image/``, which hold for every
image. See :mod:`builder.steps.guest_plugin` for what they may know.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import builder
from builder.data.manifest import Manifest, read_manifest
from builder.data.yamlfile import read_yaml
from builder.foundation.digest import canonical_json
from builder.foundation.errors import GuestTestError, LichenError, Problem
from builder.foundation.place import Project
from builder.foundation.progress import step
from builder.foundation.toolbox import Toolbox
from builder.foundation.workbench import Workbench
from builder.steps.guest_plugin import TESTINFRA, VARIABLE
from builder.steps.machine import Machine
from builder.steps.machine.console import tail
from builder.steps.machine.guest import BOOT_PATIENCE, wait_until
from builder.verbs.boot import Request, acceleration, specify
from builder.verbs.report import refresh_report

TEST_PATIENCE = 3600.0  # for one test: all of an emulated machine take hours
LISTED = 20  # failed tests that an error tells about
# Named, not imported: it would load pytest with every command.
PLUGIN = "builder.steps.guest_plugin"


@dataclass(frozen=True)
class Verdict:
    """What a test run without failures found; ``folder`` holds everything it left."""

    folder: Path
    passed: int
    skipped: int
    state: str
    acceleration: str

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {**vars(self), "folder": str(self.folder)}


@dataclass(frozen=True)
class Event:
    """One finished test, as the plugin tells it."""

    test: str
    outcome: str
    seconds: float
    text: str


def results_folder(image: Path) -> Path:
    """Where a test run of the image folder leaves its results."""
    return image.with_name(f"{image.name}.test")


def find_tests(project: Project, manifest: Manifest) -> dict[Path, str]:
    """Folders of tests for an image and the overlay of each; none for tests of every image."""
    found = {project.root / "tests" / "image": ""}
    found.update({project.overlays / name / "tests": name for name in manifest.overlays})
    return {folder: name for folder, name in found.items() if folder.is_dir()}


def make_secrets(project: Project, manifest: Manifest) -> dict[str, str]:
    """A random value for every credential called ``*password`` that the image's overlays declare."""
    found: dict[str, str] = {}
    for name in manifest.overlays:
        file = project.overlays / name / "overlay.yaml"
        declared = read_yaml(file).value.get("credentials") if file.exists() else None
        for credential in declared or ():
            if credential.endswith("password"):
                found[credential] = secrets.token_urlsafe(18)
    return found


def run_image_tests(
    workbench: Workbench,
    toolbox: Toolbox,
    image: Path,
    request: Request | None = None,
    *,
    quick: bool = False,
    boot_timeout: float = BOOT_PATIENCE,
    test_timeout: float = TEST_PATIENCE,
) -> Verdict:
    """Boot an image folder and run its tests.

    Without a data disk in ``request`` the machine gets an empty one. A ``quick`` run skips tests marked as long.
    The guest must have booted within ``boot_timeout`` seconds, each next test have ended within ``test_timeout``.

    Raises:
        GuestTestError: the guest did not boot, or tests failed (each named), or there are none.
        LichenError: not an image folder, or QEMU does not start.
    """
    request = request or Request()
    image = image.absolute()
    manifest = read_manifest(image / "manifest.json")
    project, progress = workbench.project, workbench.progress
    folders = find_tests(project, manifest)
    folder = results_folder(image)
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    given = {**make_secrets(project, manifest), **request.credentials}
    found = acceleration(workbench, toolbox, manifest.architecture, request.kind)
    progress.note(f"{found.kind}: {found.reason}")
    with tempfile.TemporaryDirectory(prefix="lichen-test-") as name:
        work = Path(name)
        request = replace(request, credentials=given, data_disk=request.data_disk or folder / "data.raw")
        spec = specify(image, manifest, request, found.kind)
        try:
            with Machine(toolbox, spec, folder, runner=workbench.runner) as machine:
                with step(progress, f"boot {manifest.profile}"):
                    machine.wait_for_ssh(boot_timeout)
                    state = machine.wait_booted(boot_timeout)
                session = _Session(workbench, machine, folder, work, quick=quick)
                with step(progress, "test"):
                    session.run(manifest, folders, given, test_timeout)
                machine.shutdown()
        finally:
            (folder / "data.raw").unlink(missing_ok=True)
            folder.chmod(0o755)  # a running machine keeps it private
            refresh_report(workbench, image)
    count = [event.outcome for event in session.events].count
    return Verdict(folder, count("passed"), count("skipped"), state, found.kind)


class _Session:
    """One run of pytest against a running guest."""

    def __init__(self, workbench: Workbench, machine: Machine, folder: Path, work: Path, *, quick: bool) -> None:
        self.workbench = workbench
        self.machine = machine
        self.folder = folder
        self.work = work
        self.quick = quick
        self.events: list[Event] = []

    def run(
        self, manifest: Manifest, folders: Mapping[Path, str], given: Mapping[str, str | bytes], timeout: float
    ) -> None:
        """Run all tests; raises GuestTestError when not all is well."""
        self._describe(manifest, folders, given)
        (self.folder / "artifacts").mkdir()
        # Own settings: the result must not depend on those of the project, and its conftest files above are not ours.
        (self.work / "pytest.ini").write_text("[pytest]\naddopts =\n", encoding="ascii")
        try:
            code = self._pytest(self._command(list(folders)), timeout)
            self._judge(code)
        except LichenError:
            (self.folder / "guest-errors.txt").write_text(self.machine.complaints(), encoding="utf-8")
            raise

    def _describe(self, manifest: Manifest, folders: Mapping[Path, str], given: Mapping[str, str | bytes]) -> None:
        guest = {
            "manifest": manifest.model_dump(mode="json"),
            "tests": {str(path): name for path, name in folders.items()},
            "forwards": {str(guest): host for guest, host in self.machine.ports.items()},
            "secrets": {name: value for name, value in given.items() if isinstance(value, str)},
            "artifacts": str(self.folder / "artifacts"),
            "console": str(self.machine.console_log),
            "events": str(self.work / "events"),
            "port": self.machine.shell.port,
            "ssh_config": str(self.machine.ssh_config(self.work / "ssh_config")),
            "quick": self.quick,
        }
        (self.work / "guest.json").write_text(canonical_json(guest), encoding="utf-8")

    def _command(self, folders: list[Path]) -> list[str]:
        root = self.workbench.project.root
        return [
            *(sys.executable, "-m", "pytest", "-v", "-ra", "--import-mode=importlib", "-p", "no:cacheprovider"),
            *("-p", f"no:{TESTINFRA}"),
            *("-p", PLUGIN, "-c", str(self.work / "pytest.ini"), "--rootdir", str(root)),
            # Only conftest.py in the folders themselves: what lies above tests/image is not for guests.
            *(
                "--confcutdir",
                str(root / "tests" / "image" if (root / "tests" / "image").is_dir() else root / "overlays"),
            ),
            *(f"--junit-xml={self.folder / 'tests.xml'}", f"--basetemp={self.work / 'tmp'}"),
            *(str(folder) for folder in folders),
        ]

    def _pytest(self, command: list[str], timeout: float) -> int:
        """pytest's exit code; the guest is watched meanwhile."""
        path = os.pathsep.join(filter(None, (str(Path(builder.__file__).parents[1]), os.environ.get("PYTHONPATH"))))
        mine = {VARIABLE: str(self.work / "guest.json"), "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
        env = {**os.environ, **mine}
        deadline, ended = time.monotonic() + timeout, 0
        log = self.folder / "pytest.log"
        with (
            log.open("wb") as stream,
            self.workbench.runner.started(command, cwd=self.workbench.project.root, env=env, stdout=stream) as process,
        ):
            while process.poll() is None:
                time.sleep(0.3)
                self._hear()
                if len(self.events) > ended:
                    deadline, ended = time.monotonic() + timeout, len(self.events)
                try:
                    self.machine.check()
                    if time.monotonic() > deadline:
                        remedy = "see its end for the test that hangs; a slow host may need a longer time-out"
                        what = f"no test ended within {timeout:.0f} s"
                        raise GuestTestError(Problem(what, str(log), tail(log.read_text(errors="replace")), remedy))
                except GuestTestError:
                    # Asked politely pytest still writes tests.xml.
                    process.send_signal(signal.SIGINT)
                    wait_until(lambda: process.poll() is not None, 30.0)
                    raise
        self._hear()
        return process.returncode

    def _hear(self) -> None:
        """Note every test that ended since the last time."""
        path = self.work / "events"
        lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
        for line in lines[len(self.events) :]:
            event = Event(**json.loads(line))
            self.events.append(event)
            self.workbench.progress.note(f"{event.outcome}: {event.test} ({event.seconds:.1f} s)")

    def _judge(self, code: int) -> None:
        """Raise unless pytest ran tests and all passed."""
        if code == 0:
            return
        log = self.folder / "pytest.log"
        failed = [event for event in self.events if event.outcome == "failed"]
        if failed:
            remedy = f"the whole reports are in {log}, the guest's own errors in guest-errors.txt beside it"
            problems = [
                Problem("a test of the image failed", event.test, tail(event.text, 12), remedy) for event in failed
            ]
            more = len(problems) - LISTED
            summary = [Problem(f"{more} more tests failed", str(log))] if more > 0 else []
            raise GuestTestError(problems[:LISTED] + summary)
        why = {5: "no test was found"}.get(code, tail(log.read_text(encoding="utf-8", errors="replace")))
        raise GuestTestError(Problem("the tests of the image did not run", str(log), why, "see the log"))
