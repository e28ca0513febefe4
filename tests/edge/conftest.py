"""The Python of the edge overlays, where it needs no camera, no systemd and no processor of another kind."""

from __future__ import annotations

import sys

from tests.conftest import REPOSITORY

for overlay in ("camera-detector", "cpu-features"):
    sys.path.append(str(REPOSITORY.overlays / overlay / "tree/usr/lib/lichen/python"))
sys.path.append(str(REPOSITORY.overlays / "camera-detector/model"))
