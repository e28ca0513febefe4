"""The Python of the security agent, where it needs no BPF and no systemd."""

from __future__ import annotations

import sys

from tests.conftest import REPOSITORY

for overlay in ("agents", "security-agent"):
    sys.path.append(str(REPOSITORY.overlays / overlay / "tree/usr/lib/lichen/python"))
