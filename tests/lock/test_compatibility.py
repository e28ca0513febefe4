"""Locking refuses what does not fit together, and chooses wheels for the CUDA that the driver runs.

The reports that are replayed are real; packages and wheels have their names and versions, in archives on loopback.
"""

from __future__ import annotations

import pytest

from builder.data.lock import Lock
from builder.foundation.errors import InputError, Problem
from tests.lock.archive import Package
from tests.lock.wheelindex import ARM, X86
from tests.lock.world import World

OPEN = "nvidia-open-kernel-dkms"
# As Debian 13 has them.
DRIVER_550 = (
    Package(OPEN, "550.163.01-2", "amd64", depends="firmware-nvidia-gsp"),
    Package("firmware-nvidia-gsp", "550.163.01-2", "amd64"),
    Package("libcuda1", "550.163.01-2", "amd64"),
    Package("nvidia-smi", "550.163.01-2", "amd64"),
)
LIMIT = "libcuda1 550.163.01-2 runs CUDA 12 and older"


def want(world: World, *packages: Package) -> None:
    """Let the archive have these packages and the profile ask for them."""
    world.trixie.add(*packages)
    world.publish()
    names = ", ".join(package.name for package in packages)
    world.sample.swap("profiles/small.yaml", "packages: [less, nano]", f"packages: [less, nano, {names}]")


def require(world: World, *lines: str) -> None:
    """Let an overlay require nothing but these."""
    items = "".join(f"    - {line!r}\n" for line in lines)
    world.sample.write("overlays/web/overlay.yaml", f"description: a web page\npython:\n  requirements:\n{items}")


def locked(lock: Lock) -> dict[str, str]:
    return {wheel.name: wheel.version for wheel in lock.wheels if "image" in wheel.uses}


def refused(world: World) -> Problem:
    """The one problem that locking tells; the lock of before stays as it is."""
    [problem] = world.fails(InputError)
    return problem


def test_module_and_driver_apart(world: World) -> None:
    """ublue-os/bluefin #2845.

    "kmod-nvidia version (575.64.03-1.fc42) does not match nvidia-driver version (575.64.05-1.fc42)", two days after
    the repository had moved on.
    """
    world.without_wheels()
    want(world, Package(OPEN, "575.64.03-1", "amd64"), Package("nvidia-driver", "575.64.05-1", "amd64"))
    problem = refused(world)
    place = world.sample.at("profiles/small.yaml", "packages:")
    assert problem.what == f"two versions of the NVIDIA driver: {OPEN} 575.64.03-1 and user space 575.64.05"
    assert problem.where == f"{OPEN} 575.64.03-1 of debian ({place}); nvidia-driver 575.64.05-1 of debian ({place})"
    world.trixie.add(Package(OPEN, "575.64.05-1", "amd64"))
    world.mended()


def test_lock_of_before_the_rule(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told when the lock is stamped anew too, without network."""
    world.without_wheels()
    want(world, Package(OPEN, "550.163.01-2", "amd64"), Package("libcuda1", "535.274.02-1", "amd64"))
    with monkeypatch.context() as patch:
        patch.setattr("builder.verbs.lock._require_fit", lambda *_: None)
        world.lock()
    world.sample.swap("profiles/small.yaml", "hostname: small", "hostname: other")
    before, asked = world.path.read_text(), len(world.mirror.requests)
    with pytest.raises(InputError, match="two versions of the NVIDIA driver"):
        world.lock()
    assert world.path.read_text() == before
    assert len(world.mirror.requests) == asked


class TestCuda:
    """sgl-project/sglang #11395, pytorch/pytorch #162531: CUDA 13 wheels on a driver for CUDA 12 find no GPU."""

    @pytest.fixture(autouse=True)
    def frameworks(self, world: World) -> None:
        """Releases as the index has them: the newer torch and one extra of JAX need CUDA 13."""
        index = world.index
        for version in ("12.8.90", "12.9.79"):
            index.add("nvidia-cuda-runtime-cu12", version, "py3-none-manylinux2014_x86_64")
        index.add("nvidia-cuda-runtime", "13.2.86", "py3-none-manylinux2014_x86_64")
        index.add("cuda-toolkit", "13.2.2", requires=("nvidia-cuda-runtime==13.2.*",))
        index.add("torch", "2.10.0", X86, requires=("nvidia-cuda-runtime-cu12==12.8.90",))
        index.add("torch", "2.15.0", X86, requires=("cuda-toolkit==13.2.2",))
        cuda = ("nvidia-cuda-runtime-cu12; extra == 'and-cuda'",)
        index.add("tensorflow", "2.21.0", X86, requires=cuda, extras=("and-cuda",))
        index.add("jaxlib", "0.12.0.1", X86)
        for number in (12, 13):
            index.add(f"jax-cuda{number}-plugin", "0.12.0.1", X86, requires=("jaxlib",))
        extras = tuple(f"jax-cuda{number}-plugin; extra == 'cuda{number}'" for number in (12, 13))
        index.add("jax", "0.6.2", requires=extras[:1], extras=("cuda12",))
        index.add("jax", "0.12.0.1", requires=extras, extras=("cuda12", "cuda13"))

    def test_newest_releases_that_fit_are_chosen(self, world: World) -> None:
        """CUDA 12.8 runs on a driver of CUDA 12.4 by minor version compatibility, 13 does not."""
        want(world, *DRIVER_550)
        require(world, "torch", "tensorflow[and-cuda]", "jax[cuda12]")
        assert locked(world.lock().lock) == {
            "torch": "2.10.0",
            "tensorflow": "2.21.0",
            "jax": "0.12.0.1",
            "jaxlib": "0.12.0.1",
            "jax-cuda12-plugin": "0.12.0.1",
            "nvidia-cuda-runtime-cu12": "12.8.90",
        }

    @pytest.mark.parametrize("driver", ["580.95.05-1", None])
    def test_newest_of_all_with_a_driver_for_it_or_without_any(self, world: World, driver: str | None) -> None:
        if driver:
            want(world, Package("libcuda1", driver, "amd64"))
        require(world, "torch", "jax[cuda13]")
        chosen = locked(world.lock().lock)
        assert (chosen["torch"], chosen["jax-cuda13-plugin"]) == ("2.15.0", "0.12.0.1")

    def test_requirement_that_forbids_what_fits(self, world: World) -> None:
        want(world, *DRIVER_550)
        require(world, "torch>=2.12")
        problem = refused(world)
        place = world.sample.at("overlays/web/overlay.yaml", "torch>=2.12")
        assert problem.what == "the Python requirements cannot be resolved"
        assert problem.where.startswith(f"torch>=2.12: {place}; ")
        assert "cuda-toolkit" in problem.why
        assert problem.why.endswith(LIMIT)
        assert problem.remedy == (
            "relax or replace the requirement; what would fit: releases for CUDA 12, or a driver from 580 on for CUDA "
            "13 (NVIDIA, CUDA Compatibility, Minor Version Compatibility, table 1)"
        )

    def test_extra_of_releases_that_do_not_fit(self, world: World) -> None:
        """uv would go back to a JAX of before that extra, and so to one without CUDA, with a warning only."""
        want(world, *DRIVER_550)
        require(world, "jax[cuda13]")
        problem = refused(world)
        assert problem.what == "jax 0.6.2 has no extra 'cuda13'"
        assert problem.where == f"jax[cuda13]: {world.sample.at('overlays/web/overlay.yaml', 'jax')}"
        assert problem.why.endswith(LIMIT)
        assert "a driver from 580 on" in problem.remedy

    def test_wheels_that_were_chosen_regardless(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """As a lock of before there was this rule has them."""
        monkeypatch.setattr("builder.verbs.resolve.cuda_limit", lambda *_: None)
        want(world, *DRIVER_550)
        require(world, "torch")
        problem = refused(world)
        assert problem.what == "CUDA 13 of the wheels is too new for libcuda1 550.163.01-2"
        assert problem.where == (
            "cuda_toolkit-13.2.2-py3-none-any.whl; nvidia_cuda_runtime-13.2.86-py3-none-manylinux2014_x86_64.whl"
        )
        assert problem.why == LIMIT
        assert "`lichen lock small --upgrade` chooses the newest releases that fit" in problem.remedy


def test_server_wheel_on_a_jetson(world: World) -> None:
    """cubert-hyperspectral/cuvis-ai #107: torch 2.11.0+cu128 on a Jetson Thor.

    "the cu128 index serves an SBSA (Grace / GH200) aarch64 wheel whose kernels stop at sm_120, the Thor is sm_110"; the
    build for CUDA 13.0 was the cure.
    """
    world.sample.swap("profiles/small.yaml", "architectures: [amd64, arm64]", "architectures: [arm64]")
    world.sample.add("profiles/small.yaml", "board: thor\n")
    world.index.add("torch", "2.11.0+cu128", ARM)
    require(world, "torch")
    problem = refused(world)
    place = world.sample.at("overlays/web/overlay.yaml", "torch")
    assert problem.what == "torch 2.11.0+cu128 has no code for the GPU of a Jetson Thor"
    assert problem.where == f"torch-2.11.0+cu128-cp313-cp313-manylinux_2_28_aarch64.whl ({place})"
    assert problem.why.startswith("for CUDA 12.8 it has code for 8.0, 9.0, 10.0, 12.0 (pytorch/pytorch, RELEASE.md")
    assert "the GPU is 11.0" in problem.why
    assert problem.remedy == "torch>=2.9 for CUDA 13.0 or torch>=2.12 for CUDA 13.2"
    world.index.add("torch", "2.14.0+cu130", ARM)
    assert locked(world.lock().lock) == {"torch": "2.14.0+cu130"}
