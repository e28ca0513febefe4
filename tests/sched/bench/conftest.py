"""The ablation's Python: what runs on the host, and what needs no scheduler of ours."""

from __future__ import annotations

import sys

from tests.conftest import REPOSITORY

sys.path.append(str(REPOSITORY.overlays / "scheduler-agent/bench"))
# ci/scheduler.py is no package: it is imported by its name.
sys.path.append(str(REPOSITORY.root / "ci"))
