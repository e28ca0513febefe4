"""From the lock to the image where there is no network at all: what a person does for an air-gapped machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from builder.data.lock import read_lock
from builder.data.manifest import read_manifest
from builder.foundation.place import Cache, Project

ROOT = Path(__file__).parents[2]
ALONE = ("unshare", "--net")
LICHEN = (sys.executable, "-m", "builder.cli.main")
# What a process sees of the network: not even the loopback interface is up.
LOOK = """
import errno, socket
assert [name for _, name in socket.if_nameindex()] == ["lo"]
assert socket.socket().connect_ex(("127.0.0.1", 80)) == errno.ENETUNREACH
"""


def run(*words: str | Path) -> str:
    """What a command printed; its complaints are shown when it fails."""
    done = subprocess.run(
        [str(word) for word in words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def _alone() -> None:
    if os.geteuid() != 0:
        pytest.skip("building needs root")
    done = subprocess.run([*ALONE, sys.executable, "-c", LOOK], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no network namespace without interfaces can be had here: {done.stderr.strip()}")


@pytest.mark.usefixtures("_alone")
@pytest.mark.long
def test_lock_becomes_an_image_without_network(small_project: Project, cache: Cache, tmp_path: Path) -> None:
    bundle = tmp_path / "small.bundle"
    run(*LICHEN, "fetch", "small", "--export", bundle, "--project", small_project.root, "--cache", cache.root)
    there = Project(tmp_path / "there")
    for name in ("profiles", "overlays"):
        shutil.copytree(small_project.root / name, there.root / name, symlinks=True)
    options = ("--project", there.root, "--cache", tmp_path / "cache")
    lock = read_lock(there.lock("small", "amd64"))
    # Nothing is there: no files, no tools tree, no component.
    said = run(*ALONE, *LICHEN, "fetch", "--import", bundle, *options)
    assert f"small amd64: {len(lock.files)} files, " in said
    assert said.rstrip().endswith("0 already there")
    bundle.unlink()
    assert "; 0 fetched (0 B)" in run(*ALONE, *LICHEN, "fetch", "small", *options)
    folder = Path(run(*ALONE, *LICHEN, "build", "small", *options).strip())
    assert folder == there.image("small", "amd64", lock.digest)
    assert read_manifest(folder / "manifest.json").lock == lock.digest
    run("sh", "-c", f"cd '{folder}' && sha256sum --check --quiet --strict SHA256SUMS")
