from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from builder.data.verification import Compared, Difference
from builder.foundation.process import Runner
from builder.foundation.toolbox import Toolbox
from builder.steps.compare import compare_images
from tests.compare.world import ImageMaker, World


@dataclass(frozen=True)
class Result:
    """What a comparison found."""

    rows: dict[str, Compared]
    differences: tuple[Difference, ...]

    @property
    def identical(self) -> bool:
        return all(row.identical for row in self.rows.values())

    @property
    def differing(self) -> set[str]:
        return {name for name, row in self.rows.items() if not row.identical}

    def of(self, artefact: str, part: str = "") -> list[Difference]:
        return [item for item in self.differences if (item.artefact, item.part) == (artefact, part)]


Compare = Callable[..., Result]


@pytest.fixture
def world(tmp_path: Path, toolbox: Toolbox) -> World:
    return World(tmp_path, toolbox)


@pytest.fixture
def make(world: World) -> ImageMaker:
    return ImageMaker(world)


@pytest.fixture
def compare(tmp_path: Path, toolbox: Toolbox) -> Compare:
    def run(first: Path, second: Path, **settings: object) -> Result:
        scratch = tmp_path / "scratch"
        scratch.mkdir(exist_ok=True)
        rows, differences = compare_images(first, second, toolbox, Runner(), scratch, **settings)  # type: ignore[arg-type]
        return Result({row.name: row for row in rows}, differences)

    return run


def told(result: Result) -> str:
    """Everything that was found, for a failing assertion."""
    return "\n".join(
        f"{item.artefact} | {item.part} | {item.path} | {item.what} | {item.cause}\n{item.evidence}"
        for item in result.differences
    )
