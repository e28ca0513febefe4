"""The shipped layer for NVIDIA's Jetson repository, on a repository and an index of wheels made here.

Nothing of NVIDIA's is reached: packages of the same names with nothing in them, signed by another key.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import yaml

from builder.data.lock import Lock
from builder.foundation.errors import InputError, LichenError, Problem
from builder.foundation.place import Cache, Project
from builder.foundation.workbench import Workbench
from builder.steps.profiles import load_recipe
from builder.verbs.everything import every_image_here, out_of_reach
from builder.verbs.lock import check_lock, lock
from builder.verbs.render import render
from builder.verbs.sources import find_sources
from tests.conftest import REPOSITORY
from tests.lock.archive import Key, Package, Suite
from tests.lock.wheelindex import ARM, Index
from tests.lock.world import World
from tests.store.conftest import Recorder
from tests.store.mirror import Mirror

PROFILE = "edge-jetson-l4t"
KEY = "profiles/keys/jetson.asc"
BOARD = "cp313-cp313-linux_aarch64"  # wheels for a Jetson name no manylinux
MARK = "opt/nvidia/l4t-packages/.nv-l4t-disable-boot-fw-update-in-preinstall"
# By repository, what the overlay asks for and one thing that it needs there; versions as they are in r36.4.
PACKAGES = {
    "jetson": (
        Package("cuda-libraries-12-6", "12.6.11-1", "arm64", depends="libcublas-12-6"),
        Package("libcublas-12-6", "12.6.1.4-1", "arm64"),
        Package("libcudnn9-cuda-12", "9.3.0.75-1", "arm64"),
    ),
    "jetson-t234": (
        Package("nvidia-l4t-core", "36.4.7-20250918154033", "arm64", depends="libc6"),
        Package("nvidia-l4t-cuda", "36.4.7-20250918154033", "arm64", depends="nvidia-l4t-core, nvidia-l4t-nvsci"),
        Package("nvidia-l4t-firmware", "36.4.7-20250918154033", "arm64"),
        Package("nvidia-l4t-nvsci", "36.4.7-20250918154033", "arm64"),
    ),
}
WEB = 'description: what asks for wheels\npython:\n  requirements: ["torch>=2"]\n'


@dataclass
class Jetson:
    """Both trees of the vendor and its index on a mirror, and how a person says where they are."""

    mirror: Mirror
    key: Key
    suites: list[Suite] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name, packages in PACKAGES.items():
            suite = Suite(name, "r36.4", list(packages), architectures=("arm64",), origin="NVIDIA")
            suite.publish(self.mirror, self.key)
            self.suites.append(suite)
        self.index = Index(self.mirror, folder="jetson-wheels")

    @property
    def mirrors(self) -> tuple[str, ...]:
        return tuple(f"{name}={self.mirror.url}/{name}" for name in PACKAGES)

    @property
    def wheels(self) -> str:
        return f"jetson={self.index.url}/"


def with_our_key(text: str, key: Key) -> str:
    """A profile of ours, but for the fingerprint: nobody here can sign for NVIDIA."""
    shipped = yaml.safe_load((REPOSITORY.profiles / f"{PROFILE}.yaml").read_text())
    for repository in shipped["repositories"].values():
        text = text.replace(repository["fingerprint"], key.fingerprint)
    return text


def of_the_vendor(made: Lock) -> dict[str, list[str]]:
    """By repository, the names of the packages that are locked from it."""
    return {name: [deb.name for deb in made.debs if deb.archive == name] for name in PACKAGES}


EXPECTED = {name: [package.name for package in packages] for name, packages in PACKAGES.items()}


@pytest.fixture(scope="module")
def served(stranger: Key) -> Iterator[Jetson]:
    """The vendor, for as long as these tests run."""
    with Mirror() as mirror:
        yield Jetson(mirror, stranger)


@pytest.fixture(scope="module")
def bench(served: Jetson, cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    """Our profiles as they are, but for the key."""
    project = Project(tmp_path_factory.mktemp("jetson"))
    for folder in ("overlays", "kernel-configs"):
        shutil.copytree(REPOSITORY.root / folder, project.root / folder, symlinks=True)
    project.profiles.mkdir()
    for path in REPOSITORY.profiles.glob("*.yaml"):
        (project.profiles / path.name).write_text(with_our_key(path.read_text(), served.key))
    (project.root / KEY).parent.mkdir()
    (project.root / KEY).write_bytes(served.key.armoured)
    return Workbench(project, cache, mirrors=served.mirrors)


@pytest.fixture(scope="module")
def made(bench: Workbench) -> Lock:
    """The lock of the shipped profile."""
    return lock(bench, PROFILE, accept_expired=frozenset({"forky"})).lock


class TestShippedProfile:
    """Beside the real archive of Debian."""

    def test_vendor_packages_come_from_the_vendor(self, made: Lock) -> None:
        assert of_the_vendor(made) == EXPECTED
        assert {deb.uses for deb in made.debs if deb.archive in PACKAGES} == {("image",)}
        others = [deb for deb in made.debs if deb.archive not in PACKAGES]
        assert not [deb.name for deb in others if deb.name.startswith(("nvidia-l4t-", "cuda-"))]
        assert {"python3-torch", "linux-source-6.12"} <= {deb.name for deb in others}
        assert [item.name for item in made.repositories] == list(PACKAGES)
        assert made.wheels == ()

    def test_lock_holds_no_place_and_needs_none(self, bench: Workbench, made: Lock, served: Jetson) -> None:
        assert served.mirror.url not in made.text()
        assert "127.0.0.1" not in made.text()
        assert check_lock(replace(bench, mirrors=()), PROFILE) == made

    def test_tree_renders(self, bench: Workbench, made: Lock, tmp_path: Path) -> None:
        folder = render(bench, PROFILE, destination=tmp_path / "tree")
        named = (folder / "mkosi.images/base/mkosi.conf").read_text().split()
        asked = yaml.safe_load((REPOSITORY.overlays / "l4t/overlay.yaml").read_text())["packages"]
        assert set(asked) <= set(named)
        # mkosi lays it down before the packages, as their scripts want it.
        mark = folder / "mkosi.images/base/mkosi.skeleton" / MARK
        assert (mark.read_bytes(), mark.stat().st_mode & 0o7777) == (b"", 0o644)
        assert not (folder / "extra" / MARK).exists()
        assert not (folder / "mkosi.images/python").exists()

    def test_kernel_is_that_of_the_profile_without_the_layer(self, bench: Workbench) -> None:
        """NVIDIA's layer is user space: no hour of compiling for it."""
        ours, plain = (load_recipe(bench.project, name) for name in (PROFILE, "edge-jetson"))
        assert ours.kernel == plain.kernel


@pytest.fixture
def jetson(world: World, stranger: Key) -> Jetson:
    """The shipped repositories and overlay in a small project of the made-up world."""
    sample = world.sample
    shipped = yaml.safe_load((REPOSITORY.profiles / f"{PROFILE}.yaml").read_text())
    layer = yaml.safe_dump({"repositories": shipped["repositories"], "board": "orin"})
    sample.swap("profiles/small.yaml", "[amd64, arm64]", "[arm64]")
    sample.swap("profiles/small.yaml", "[core, web]", "[core, web, base-system, l4t]")
    sample.add("profiles/small.yaml", with_our_key(layer, stranger))
    sample.write(KEY, stranger.armoured)
    sample.write("overlays/base-system/overlay.yaml", "description: stands for the real one\n")
    sample.write("overlays/web/overlay.yaml", WEB)
    shutil.copytree(REPOSITORY.overlays / "l4t", sample.root / "overlays/l4t")
    world.trixie.add(Package("libc6", "2.41-12", "arm64"), Package("python3", "3.13.5-1"))
    world.publish()
    return Jetson(world.mirror, stranger)


def locked(world: World, jetson: Jetson) -> Lock:
    mirrors, indices = (*world.at(world.mirror), *jetson.mirrors), (world.index.url, jetson.wheels)
    return world.lock(mirrors=mirrors, indices=indices).lock


def refused(world: World, jetson: Jetson) -> Problem:
    mirrors, indices = (*world.at(world.mirror), *jetson.mirrors), (world.index.url, jetson.wheels)
    [problem] = world.fails(InputError, mirrors=mirrors, indices=indices)
    return problem


def no_wheels(world: World) -> None:
    world.sample.write("overlays/web/overlay.yaml", "description: asks for none\n")


class TestWheels:
    def test_they_come_from_the_index_of_the_vendor(self, world: World, jetson: Jetson) -> None:
        filename, _ = jetson.index.add("torch", "2.8.0+cu126", BOARD, requires=("helper",))
        world.index.add("helper")
        world.index.add("torch", "2.13.0", ARM)
        made = locked(world, jetson)
        assert of_the_vendor(made) == EXPECTED
        wheels = [(wheel.name, wheel.filename, wheel.repository) for wheel in made.wheels if "image" in wheel.uses]
        assert wheels == [("helper", "helper-1.0-py3-none-any.whl", None), ("torch", filename, "jetson")]
        assert "127.0.0.1" not in made.text()

    def test_they_are_fetched_from_there(self, world: World, jetson: Jetson) -> None:
        jetson.index.add("torch", "2.8.0+cu126", BOARD)
        recipe = load_recipe(world.sample.project, "small")
        wheels = [wheel for wheel in locked(world, jetson).wheels if "image" in wheel.uses]
        near = world.bench(indices=(world.index.url, jetson.wheels))
        assert list(find_sources(near, recipe, wheels).indexes) == [world.index.url, jetson.index.url]
        with pytest.raises(InputError) as caught:
            find_sources(world.bench(), recipe, wheels)
        [problem] = caught.value.problems
        assert problem.what == "nothing says where the wheel index of the repository 'jetson' is"
        # Those of the machine's own index want no other.
        others = [wheel.model_copy(update={"repository": None}) for wheel in wheels]
        assert list(find_sources(world.bench(), recipe, others).indexes) == [world.index.url]

    def test_builds_for_servers_are_refused(self, world: World, jetson: Jetson) -> None:
        """The vendor's index has none for this Python, so the common one is asked."""
        world.index.add("torch", "2.9.1", ARM, requires=("nvidia-cuda-runtime-cu12",))
        world.index.add("nvidia-cuda-runtime-cu12", "12.8.90", "py3-none-manylinux2014_aarch64")
        problem = refused(world, jetson)
        assert problem.what == "CUDA wheels for servers do not run on a Jetson Orin"
        assert problem.where.startswith("nvidia_cuda_runtime_cu12-12.8.90")

    def test_builds_for_another_python_are_refused(self, world: World, jetson: Jetson) -> None:
        """What NVIDIA's index has, as far as it is known: nothing goes round it to the common one."""
        jetson.index.add("torch", "2.8.0+cu126", "cp310-cp310-linux_aarch64")
        world.index.add("torch", "2.13.0", ARM)
        problem = refused(world, jetson)
        assert problem.what == "the Python requirements cannot be resolved"
        assert "cp310" in problem.why

    def test_index_that_is_down_tells_the_option(self, world: World, jetson: Jetson) -> None:
        jetson.mirror.files.pop("/jetson-wheels/torch/", None)
        mirrors = (*world.at(world.mirror), *jetson.mirrors)
        indices = (world.index.url, "jetson=http://127.0.0.1:1/simple")
        [problem] = world.fails(LichenError, mirrors=mirrors, indices=indices)
        assert problem.what == "the index of wheels cannot be used"
        assert problem.remedy == "check the network, or name another place with `--index jetson=URL`"


class TestNotLocated:
    def test_all_is_told_at_once_and_before_anything_is_asked(self, world: World, jetson: Jetson) -> None:
        asked = len(world.mirror.requests)
        problems = world.fails(InputError)
        assert len(world.mirror.requests) == asked
        assert [(problem.what, problem.remedy) for problem in problems] == [
            ("nothing says where the repository 'jetson' is", "add `--mirror jetson=URL`"),
            ("nothing says where the repository 'jetson-t234' is", "add `--mirror jetson-t234=URL`"),
            ("nothing says where the wheel index of the repository 'jetson' is", "add `--index jetson=URL`"),
        ]

    def test_index_of_which_no_wheel_is_wanted(self, world: World, jetson: Jetson) -> None:
        no_wheels(world)
        made = world.lock(mirrors=(*world.at(world.mirror), *jetson.mirrors)).lock
        assert of_the_vendor(made) == EXPECTED

    def test_of_all_images_it_is_left_alone_until_it_has_a_lock(self, world: World, jetson: Jetson) -> None:
        no_wheels(world)
        told = Recorder()
        bench = replace(world.bench(), progress=told)
        # Locked nowhere either, but nothing of it is out of reach.
        world.sample.write("profiles/other.yaml", "description: d\narchitectures: [amd64]\nimage: {hostname: other}\n")
        assert every_image_here(bench) == ([("other", "amd64")], [])
        assert told.notes == [
            "small arm64 is left alone, it has no lock yet: nothing says where the repository 'jetson' is (add "
            "`--mirror jetson=URL`); nothing says where the repository 'jetson-t234' is (add `--mirror "
            "jetson-t234=URL`)"
        ]
        located = replace(bench, mirrors=(*bench.mirrors, *jetson.mirrors))
        assert every_image_here(located)[0] == [("other", "amd64"), ("small", "arm64")]
        lock(located, "small")
        assert out_of_reach(bench, "small", "arm64") == []
        assert every_image_here(bench)[0] == [("other", "amd64"), ("small", "arm64")]


def test_packages_of_another_signer_are_refused(world: World, jetson: Jetson) -> None:
    """The shipped profile names NVIDIA's key: a copy that somebody else signed is none."""
    for suite in jetson.suites:
        suite.publish(world.mirror, world.key)
    no_wheels(world)
    problems = world.fails(LichenError, mirrors=(*world.at(world.mirror), *jetson.mirrors))
    assert {problem.what for problem in problems} == {"the archive's indices cannot be used"}
    assert [problem.where.partition(" at ")[0] for problem in problems] == [
        f"{name}:r36.4 (arm64)" for name in PACKAGES
    ]
    assert all(jetson.key.fingerprint in problem.remedy for problem in problems)


def test_shipped_key_is_the_one_that_was_pinned() -> None:
    recipe = load_recipe(REPOSITORY, PROFILE)
    for key in recipe.keys.values():
        assert key.fingerprint == "3C6D1FF3100C8C3ABB0869C0E6543461A9996195"
        assert key.expires is None
