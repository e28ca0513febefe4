from __future__ import annotations

from pathlib import Path

import pytest

from tests.sbom.madeup import MadeImage, make_image, make_tree


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "root")


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeImage:
    """Nobody changes it."""
    return make_image(tmp_path_factory.mktemp("made"))
