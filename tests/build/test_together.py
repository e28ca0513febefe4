"""Several builds at once share what they build."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from builder.data.lock import Lock, read_lock
from builder.foundation.making import alone
from builder.steps.profiles import load_buildable
from tests.build.bench import Bench, processes_at, swap, wait_until
from tests.build.conftest import Built, MakeBench


def test_one_profile_twice(bench: MakeBench, built: Built, tmp_path: Path) -> None:
    made = bench("initrd")
    processes = [made.start("--json") for _ in range(2)]
    ended = [process.communicate(timeout=600) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], ended
    told = [json.loads(out) for out, _ in ended]
    # One built it, the other waited and found it.
    assert sorted(item["rebuilt"] for item in told) == [False, True]
    (waited,) = [err for (_, err), item in zip(ended, told, strict=True) if not item["rebuilt"]]
    assert f"waiting for another process that builds {made.image.name}" in waited
    assert {item["folder"] for item in told} == {str(made.image)}
    report = f"{made.image.name}.report.html"
    assert sorted(path.name for path in made.project.images.iterdir()) == [made.image.name, report]
    assert (made.image / "SHA256SUMS").read_text() == built.sums
    assert (made.image / "build.log").read_text().count("Building main image") == 2  # the initrd and the image
    assert made.leftovers() == []
    assert processes_at(tmp_path) == []


def other_profile(made: Bench) -> Lock:
    """A second profile, which differs in the host name alone; its lock."""
    other = made.project.profiles / "other.yaml"
    other.write_text((made.project.profiles / "small.yaml").read_text())
    swap(other, "hostname: small", "hostname: other")
    lock = read_lock(made.project.lock("small", "amd64"))
    recipe = load_buildable(made.project, "other")
    lock = lock.model_copy(update={"profile": "other", "recipe": recipe.digest()})
    made.project.lock("other", "amd64").write_text(lock.text())
    return lock


def test_two_profiles_in_one_run(bench: MakeBench, built: Built, tmp_path: Path) -> None:
    made = bench("initrd")
    lock = other_profile(made)
    process = made.start("other", "--json")
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    folders = [made.image, made.project.image("other", "amd64", lock.digest)]
    assert [(item["folder"], item["rebuilt"]) for item in json.loads(out)] == [(str(path), True) for path in folders]
    assert (made.image / "SHA256SUMS").read_text() == built.sums
    reports = [path.with_name(f"{path.name}.report.html") for path in folders]
    assert sorted(made.project.images.iterdir()) == sorted([*folders, *reports])
    logs = [(path / "build.log").read_text() for path in folders]
    # The initrd was built once, for both.
    assert sorted(text.count("Building main image") for text in logs) == [1, 2]
    assert err.count("initrd …") == 2  # begun and ended
    assert "[build] other: image …" in err
    assert "[build] small: image …" in err
    assert made.leftovers() == []
    assert processes_at(tmp_path) == []


@pytest.mark.long
def test_two_profiles_share_components(bench: MakeBench, tmp_path: Path) -> None:
    made = bench("initrd")
    lock = other_profile(made)
    processes: list[subprocess.Popen[str]] = []
    with alone(made.kept("initrd")):
        # Both have come to the initrd before one can begin.
        processes = [made.start(profile=name) for name in ("small", "other")]
        for folder in (made.image, made.project.image("other", "amd64", lock.digest)):
            wait_until(folder.with_name(f".{folder.name}.lock").exists)
    ended = [process.communicate(timeout=600) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], ended
    images = sorted(path.name.partition("_")[0] for path in made.project.images.iterdir() if path.is_dir())
    assert images == ["other", "small"]
    logs = [path.read_text() for path in made.project.images.glob("*/build.log")]
    assert sorted(text.count("Building main image") for text in logs) == [1, 2]
    assert made.leftovers() == []
    assert processes_at(tmp_path) == []
