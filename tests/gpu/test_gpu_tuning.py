"""Huge pages that a profile asks for become lines of tmpfiles.d, and no line where it asks for none."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from builder.foundation.place import Project
from builder.steps.profiles import load_recipe
from builder.steps.render import overlay_files
from tests.conftest import REPOSITORY

PROFILE = """\
description: A machine with huge pages.
architectures: [amd64]
image: {hostname: tuned}
kernel: {package: linux-image-amd64, command_line: [console=ttyS0]}
overlays: [base-system, gpu-tuning]
options: {gpu-tuning: {huge_pages_2m: SMALL, huge_pages_1g: LARGE}}
"""
MADVISE = "w /sys/kernel/mm/transparent_hugepage/enabled - - - - madvise"
SMALL = "w /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages - - - - 1024"
LARGE = "w /sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages - - - - 8"


@pytest.mark.parametrize(
    ("small", "large", "lines"),
    [
        (0, 0, [MADVISE]),
        (1024, 0, [MADVISE, SMALL]),
        (0, 8, [MADVISE, LARGE]),
        (1024, 8, [MADVISE, SMALL, LARGE]),
    ],
)
def test_each_setting_is_a_line_of_its_own(tmp_path: Path, small: int, large: int, lines: list[str]) -> None:
    """Zero pages are not written: the kernel's command line may have set some aside."""
    project = Project(tmp_path)
    for overlay in ("base-system", "gpu-tuning"):
        shutil.copytree(REPOSITORY.overlays / overlay, project.overlays / overlay)
    project.profiles.mkdir()
    (project.profiles / "tuned.yaml").write_text(PROFILE.replace("SMALL", str(small)).replace("LARGE", str(large)))
    files = overlay_files(load_recipe(project, "tuned"))
    (text,) = [file.content.decode() for path, file in files.items() if path.endswith("tmpfiles.d/gpu-tuning.conf")]
    assert [line for line in text.splitlines() if not line.startswith("#")] == lines
    assert text.endswith("\n")
