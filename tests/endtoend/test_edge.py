"""The overlays of small machines on one native image with Debian's real-time kernel.

That kernel has a virtual camera, so pictures go the whole way through Video4Linux. At the end the machine hangs, and
its watchdog ends that.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from builder.foundation.errors import GuestTestError
from builder.foundation.place import Cache, Project
from builder.foundation.process import Runner
from builder.foundation.workbench import Workbench
from builder.steps.machine import Machine
from builder.steps.machine.guest import wait_until
from builder.verbs.boot import Request, acceleration, specify
from builder.verbs.build import build, provide_toolbox
from builder.verbs.imagetest import run_image_tests
from builder.verbs.lock import lock
from tests.conftest import REPOSITORY
from tests.endtoend.conftest import Spoken

PROFILE = """\
description: What edge profiles have, on this machine's own architecture.
architectures: [amd64]
image: {hostname: edge, root_size: 3G}
kernel: {package: linux-image-rt-amd64, command_line: [console=ttyS0]}
overlays: [base-system, ssh, frameworks, edge-ai, cpu-features, realtime, camera-detector, watchdog]
options:
  camera-detector: {priority: 10}
  watchdog: {timeout: 20}
"""
# As good as dead: it answers nothing, and nothing of it runs. Without a watchdog it would stay so.
HANG = "sysctl --quiet --write kernel.panic=0 && echo c > /proc/sysrq-trigger"


@pytest.mark.long
def test_edge_overlays_and_the_watchdog(cache: Cache, tmp_path: Path) -> None:
    project = Project(tmp_path / "edge")
    project.profiles.mkdir(parents=True)
    shutil.copytree(REPOSITORY.overlays, project.overlays, symlinks=True)
    shutil.copytree(REPOSITORY.root / "tests/image", project.root / "tests/image")
    (project.profiles / "edge.yaml").write_text(PROFILE)
    workbench = Workbench(project, cache, progress=Spoken())
    lock(workbench, "edge", accept_expired=frozenset({"forky"}))
    image = build(workbench, "edge")
    toolbox = provide_toolbox(workbench, "edge")
    assert run_image_tests(workbench, toolbox, image.folder).passed > 0
    kind = acceleration(workbench, toolbox, "amd64", None).kind
    spec = specify(image.folder, image.manifest, Request(), kind)
    with Machine(toolbox, spec, tmp_path / "machine", runner=Runner()) as machine:
        machine.wait_for_ssh()
        machine.wait_booted()
        with pytest.raises(GuestTestError):
            machine.run(HANG, timeout=10)
        assert wait_until(lambda: not machine.running(), 600), "the machine hangs, and nobody resets it"
        assert "Kernel panic" in machine.console_text()
