from __future__ import annotations

from tests.build.conftest import built

__all__ = ["built"]
