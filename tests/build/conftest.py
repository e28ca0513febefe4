from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from builder.foundation.place import Cache, Project
from builder.foundation.workbench import Workbench
from builder.verbs.build import BuiltImage, build
from tests.build.bench import Bench, make_bench

MakeBench = Callable[..., Bench]


@dataclass(frozen=True)
class Built:
    """The small image, built in this machine's cache; nobody changes it."""

    project: Project
    image: BuiltImage

    @property
    def sums(self) -> str:
        return (self.image.folder / "SHA256SUMS").read_text()


@pytest.fixture(scope="session")
def built(small_project: Project, cache: Cache) -> Built:
    if os.geteuid() != 0:
        pytest.skip("building needs root")
    return Built(small_project, build(Workbench(small_project, cache), "small"))


@pytest.fixture
def bench(tmp_path: Path, built: Built, cache: Cache) -> MakeBench:
    """Makes a bench with the small project; the components named are not there yet, the others are lent."""

    def make(*own: str, root: Path = tmp_path) -> Bench:
        return make_bench(root, built.project, cache, own)

    return make
