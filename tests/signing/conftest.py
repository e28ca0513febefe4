from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.conftest import lichen
from tests.sbom.madeup import MadeImage, make_image

__all__ = ["lichen"]


def openssl(*words: str | Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["openssl", *words], check=True, capture_output=True)


@dataclass(frozen=True)
class Keys:
    """A pair of keys as people make them."""

    private: Path
    public: Path


def make_keys(folder: Path, *algorithm: str) -> Keys:
    folder.mkdir(exist_ok=True)
    keys = Keys(folder / "key.pem", folder / "pub.pem")
    openssl("genpkey", "-algorithm", *(algorithm or ("ed25519",)), "-out", keys.private)
    keys.private.chmod(0o600)
    openssl("pkey", "-in", keys.private, "-pubout", "-out", keys.public)
    return keys


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return make_keys(tmp_path / "keys")


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> MadeImage:
    return make_image(tmp_path_factory.mktemp("original"))


@pytest.fixture
def made(original: MadeImage, tmp_path: Path) -> Iterator[MadeImage]:
    """An image to be changed; it is put back afterwards."""
    aside = tmp_path / "aside"
    shutil.copytree(original.folder, aside, symlinks=True)
    yield original
    shutil.rmtree(original.folder)
    shutil.copytree(aside, original.folder, symlinks=True)
