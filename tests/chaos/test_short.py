"""A few rounds of each kind, as ``ci/chaos --short`` runs them; which moments is random, the seed is printed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.build.conftest import Built
from tests.chaos.__main__ import SHORT
from tests.chaos.stage import REPOSITORY


def test_short_run(built: Built, tmp_path: Path) -> None:
    summary = tmp_path / "chaos.json"
    command = ["unshare", "--mount", "--propagation", "private", sys.executable, "-m", "tests.chaos", "--short"]
    command += ["--project", str(built.project.root), "--output", str(summary)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(summary.read_text())
    assert told["broken"] == []
    assert {kind: counts["rounds"] for kind, counts in told["kinds"].items()} == SHORT
