from __future__ import annotations

from tests.build.conftest import bench, built
from tests.cli.conftest import lichen

__all__ = ["bench", "built", "lichen"]
