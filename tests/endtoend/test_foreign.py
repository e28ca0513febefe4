"""Images of other architectures: built here from their locks, booted under emulation, tested."""

from __future__ import annotations

import pytest

from builder.data.profile import Architecture
from builder.data.toolchain import BUILD_ARCHITECTURE
from builder.foundation.workbench import Workbench
from builder.steps.profiles import load_recipe, profile_names
from builder.verbs.build import build, provide_toolbox
from builder.verbs.everything import out_of_reach
from builder.verbs.imagetest import run_image_tests
from tests.conftest import REPOSITORY

FOREIGN = [
    (name, architecture)
    for name in profile_names(REPOSITORY)
    if not (profile := load_recipe(REPOSITORY, name).profile).abstract
    for architecture in profile.architectures
    if architecture != BUILD_ARCHITECTURE
]


@pytest.mark.long
@pytest.mark.parametrize(("name", "architecture"), FOREIGN)
def test_foreign_image_passes_its_tests(workbench: Workbench, name: str, architecture: Architecture) -> None:
    if missing := out_of_reach(workbench, name, architecture):
        pytest.skip(f"no lock yet: {missing[0].what}")
    image = build(workbench, name, architecture)
    assert image.manifest.architecture == architecture
    verdict = run_image_tests(workbench, provide_toolbox(workbench, name, architecture), image.folder)
    assert verdict.passed > 0
    assert verdict.skipped == 0
    assert verdict.state == "running"
