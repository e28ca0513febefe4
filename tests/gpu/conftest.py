"""The Python of the overlays for GPUs, where it needs no GPU."""

from __future__ import annotations

import sys

from tests.conftest import REPOSITORY

for overlay in ("gpu-containers", "gpu-selftest"):
    sys.path.append(str(REPOSITORY.overlays / overlay / "tree/usr/lib/lichen/python"))
sys.path.append(str(REPOSITORY.overlays / "gpu-containers/tests"))
