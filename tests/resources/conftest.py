"""The Python of the resource agent, where it needs no systemd."""

from __future__ import annotations

import sys

from tests.conftest import REPOSITORY

for overlay in ("agents", "resource-agent"):
    sys.path.append(str(REPOSITORY.overlays / overlay / "tree/usr/lib/lichen/python"))
