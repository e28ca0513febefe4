"""NVIDIA's open modules on the classroom's kernel: compiled, signed, installed and refused by a machine without a GPU.

The overlay asks for a fragment of its own besides, which would be another kernel; here it does without.
"""

from __future__ import annotations

import shutil

import pytest
import yaml

from builder.foundation.place import Cache, Project
from builder.foundation.workbench import Workbench
from builder.steps.profiles import load_recipe
from builder.verbs.build import build, provide_toolbox
from builder.verbs.imagetest import run_image_tests
from builder.verbs.lock import lock
from tests.conftest import CLASSROOM, REPOSITORY
from tests.endtoend.conftest import Spoken

NAME = "driven"


@pytest.fixture(scope="module")
def bench(cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    """A project with the classroom's kernel and the driver, locked against the real archive."""
    project = Project(tmp_path_factory.mktemp(NAME))
    for part in ("overlays", "kernel-configs", "tests/image"):
        shutil.copytree(REPOSITORY.root / part, project.root / part, symlinks=True)
    overlay = project.overlays / "nvidia-driver/overlay.yaml"
    overlay.write_text(overlay.read_text().replace("kernel_fragments: [gpu-host]\n", ""))
    recipe = load_recipe(REPOSITORY, CLASSROOM)
    assert recipe.kernel
    profile = {
        "description": "A machine for NVIDIA's GPUs, on the classroom's kernel.",
        "architectures": ["amd64"],
        "components": ["contrib", "non-free", "non-free-firmware"],
        "image": {"hostname": NAME, "root_size": "2G"},
        "kernel": {
            "source": recipe.kernel.source,
            "fragments": [fragment.name for fragment in recipe.kernel.fragments],
            "command_line": ["console=ttyS0"],
        },
        "overlays": ["base-system", "ssh", "nvidia-driver"],
    }
    project.profiles.mkdir()
    (project.profiles / f"{NAME}.yaml").write_text(yaml.safe_dump(profile))
    made = Workbench(project, cache, progress=Spoken())
    # mkosi comes from a rolling suite; a mirror that lags a week serves it expired.
    lock(made, NAME, accept_expired=frozenset({"forky"}))
    return made


@pytest.mark.long
def test_image_with_the_driver_passes_its_tests(bench: Workbench) -> None:
    image = build(bench, NAME)
    packages = {item.name: item for item in image.manifest.packages}
    (driver,) = (name for name in packages if name.startswith("nvidia-open-kernel-"))
    assert packages[driver].archive == "lichen"
    assert packages[driver].version.startswith(packages["libcuda1"].version)
    verdict = run_image_tests(bench, provide_toolbox(bench, NAME), image.folder)
    assert verdict.passed > 0
    assert verdict.state == "running"
