"""The rules of what fits together, each with locks that keep and break it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pytest

from builder.data.compatibility import rules
from builder.data.judgement import Verdict, cuda_limit, judge
from builder.data.lock import Deb, Lock, Use, Wheel, read_lock
from builder.data.profile import Architecture, Board
from builder.foundation.digest import digest_bytes
from builder.foundation.errors import Problem
from builder.foundation.place import Project
from builder.steps.profiles import load_recipe
from tests.profiles.sample import Sample

PROJECT = Project(Path(__file__).resolve().parents[2])
OPEN = "nvidia-open-kernel-dkms"
# Of Debian 13's contrib, non-free and non-free-firmware: all with the version 550.163.01-2.
PARTS = {
    "module": (OPEN, "nvidia-kernel-dkms"),
    "firmware": ("firmware-nvidia-gsp",),
    "user_space": ("libcuda1", "libnvidia-ml1", "libnvidia-ptxjitcompiler1", "nvidia-smi", "nvidia-driver"),
}
# With versions of their own: nvidia-modprobe is 570.133.07-1 beside that driver, and fits.
OTHERS = (
    "nvidia-modprobe",
    "nvidia-kernel-common",
    "firmware-nvidia-graphics",
    "nvidia-cuda-toolkit",
    "nvidia-support",
)


@dataclass
class Bench:
    """A profile, and locks of it that nobody resolved."""

    sample: Sample

    def say(self, text: str) -> None:
        self.sample.add("profiles/small.yaml", text)

    def judge(
        self, *debs: tuple[str, str], wheels: tuple[str, ...] = (), architecture: Architecture = "amd64"
    ) -> Verdict:
        """Of a lock with these packages (name and version) and wheels (file names)."""
        lock = Lock(
            profile="small",
            architecture=architecture,
            recipe="0" * 64,
            resolution="0" * 64,
            source_date_epoch=1,
            suites=(),
            debs=tuple(deb(name, version) for name, version in debs),
            wheels=tuple(map(wheel, wheels)),
        )
        return judge(rules(), load_recipe(self.sample.project, "small"), lock, {}, {})

    def refused(
        self, *debs: tuple[str, str], wheels: tuple[str, ...] = (), architecture: Architecture = "amd64"
    ) -> Problem:
        verdict = self.judge(*debs, wheels=wheels, architecture=architecture)
        [problem] = verdict.problems
        assert all((problem.what, problem.where, problem.why, problem.remedy)), problem
        return problem

    def fits(self, *debs: tuple[str, str], wheels: tuple[str, ...] = (), architecture: Architecture = "amd64") -> None:
        assert self.judge(*debs, wheels=wheels, architecture=architecture) == Verdict((), ())


def deb(name: str, version: str) -> Deb:
    use: Use = "source" if name.startswith("linux-source") else "image"
    path = f"pool/main/{name}_{version}.deb"
    sha256 = digest_bytes(path.encode())
    return Deb(
        name=name,
        version=version,
        architecture="amd64",
        archive="debian",
        path=path,
        size=1,
        sha256=sha256,
        uses=(use,),
    )


def wheel(filename: str) -> Wheel:
    name, version = filename.split("-")[:2]
    name = name.replace("_", "-")
    sha256 = digest_bytes(filename.encode())
    return Wheel(name=name, version=version, filename=filename, size=1, sha256=sha256, uses=("image",))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(Sample(tmp_path))


class TestDriver:
    def test_names_of_debian_13(self) -> None:
        driver = rules().driver
        for role, names in PARTS.items():
            patterns = getattr(driver, role)
            assert [n for n in names if not any(re.fullmatch(pattern, n) for pattern in patterns)] == []
        every = (*driver.module, *driver.firmware, *driver.user_space)
        assert [n for n in OTHERS if any(re.fullmatch(pattern, n) for pattern in every)] == []

    def test_whole_of_one_version_fits(self, bench: Bench) -> None:
        names = [OPEN, *PARTS["firmware"], *PARTS["user_space"]]
        bench.fits(*((name, "550.163.01-2") for name in names), ("nvidia-modprobe", "570.133.07-1"))

    @pytest.mark.parametrize(
        ("module", "other", "version", "role"),
        [
            ("545.29.03", "libcuda1", "545.29.02", "user space"),
            ("595.58.03", "firmware-nvidia-gsp", "595.71.05", "GSP firmware"),
        ],
    )
    def test_parts_of_two_versions(self, bench: Bench, module: str, other: str, version: str, role: str) -> None:
        """Modules and the rest of a driver that were published at different times.

        NVIDIA/open-gpu-kernel-modules #569: modules 545.29.03 for the driver 545.29.02. Nobara-Project/rpm-sources
        #526: "GSP firmware image version mismatch: got version 595.71.05, expected version 595.58.03".
        """
        problem = bench.refused((OPEN, f"{module}-1"), (other, f"{version}-1"))
        assert problem.what == f"two versions of the NVIDIA driver: {OPEN} {module}-1 and {role} {version}"
        assert problem.where == f"{OPEN} {module}-1 of debian; {other} {version}-1 of debian"
        assert "open-gpu-kernel-modules, README" in problem.why
        assert problem.remedy.startswith(f"lock all of {module}, or all of {version}")

    def test_revision_of_the_package_is_no_version_of_the_driver(self, bench: Bench) -> None:
        bench.fits((OPEN, "550.163.01-4~bpo13+1"), ("libcuda1", "550.163.01-2"))


class TestKernel:
    def test_newer_than_the_driver(self, bench: Bench) -> None:
        """void-linux/void-packages #61087: the modules of 580.142 do not compile for 7.1.0; 580.159.04 mended it."""
        module = "nvidia-kernel-open-dkms"
        problem = bench.refused((module, "580.142-1"), ("linux-image-amd64", "7.1.0-1"))
        assert problem.what == f"linux-image-amd64 7.1.0-1 is outside of what {module} 580.142-1 supports"
        assert problem.why.startswith("its modules compile for Linux 4.15 to 7.0 (void-linux/void-packages #61087")
        assert problem.remedy == (
            f"a kernel from 4.15 to 7.0, or a driver that knows this one: {module} 580.159.04-0 (Linux 4.15 to 7.1) or "
            "nvidia-kernel-dkms 580.159.04-0 (Linux 4.15 to 7.1)"
        )
        bench.fits((module, "580.142-1"), ("linux-image-amd64", "7.0.12-1"))
        bench.fits((module, "580.159.04-1"), ("linux-image-amd64", "7.1.0-1"))

    def test_newer_package_of_the_same_driver_knows_it(self, bench: Bench) -> None:
        """Debian mends modules for newer kernels: the number of NVIDIA's release alone does not tell."""
        kernel = ("linux-image-6.17.8+deb13-amd64", "6.17.8-1~bpo13+1")
        bench.fits((OPEN, "550.163.01-4~bpo13+1"), kernel)
        assert (
            "nvidia-open-kernel-dkms 550.163.01-4~bpo13+1 (Linux 4.15 to 6.18)"
            in bench.refused((OPEN, "550.163.01-2"), kernel).remedy
        )

    def test_numbers_are_not_text(self, bench: Bench) -> None:
        bench.fits((OPEN, "550.163.01-2"), ("linux-image-amd64", "6.9.1-1"))

    @pytest.mark.parametrize(("series", "fits"), [("6.12", True), ("6.16", False)])
    def test_of_our_own(self, bench: Bench, series: str, fits: bool) -> None:
        bench.sample.write("profiles/base.yaml", "description: x\nabstract: true\narchitectures: [amd64]\n")
        bench.sample.swap("profiles/small.yaml", "overlays: [web]", "overlays: [core, web]")
        bench.say(f"kernel: {{source: linux-source-{series}}}\n")
        debs = ((OPEN, "550.163.01-2"), (f"linux-source-{series}", f"{series}.118-1"))
        if fits:
            bench.fits(*debs)
        else:
            assert bench.refused(*debs).what.startswith("linux-source-6.16 6.16.118-1 is outside of what")

    def test_unknown_driver_is_told_and_not_refused(self, bench: Bench) -> None:
        verdict = bench.judge((OPEN, "999.1-1"), ("linux-image-amd64", "6.12.1-1"))
        assert verdict.problems == ()
        [told] = verdict.unknown
        assert told == f"which kernels {OPEN} 999.1-1 compiles for: that shows when its modules are built"

    def test_modules_of_another_release(self, bench: Bench) -> None:
        """siderolabs/extensions #159: modules in 6.1.27-talos on a kernel 6.1.28-talos; none of them is loaded."""
        modules = ("nvidia-open-kernel-6.1.27-talos", "535.54.03-1")
        problem = bench.refused(("linux-image-6.1.28-talos", "6.1.28-1"), modules)
        assert problem.what == f"{modules[0]} has modules for another kernel than 6.1.28-talos"
        assert problem.why.startswith("they were compiled for 6.1.27-talos")
        bench.fits(("linux-image-6.1.27-talos-unsigned", "6.1.27-1"), modules)


class TestCuda:
    @pytest.mark.parametrize(
        ("driver", "major", "constraint"),
        [
            ("535.274.02-1", 12, "cuda-toolkit<13"),
            ("550.163.01-2", 12, "jax-cuda13-plugin<0"),
            ("470.256.02-2", 11, "nvidia-cuda-runtime-cu12<0"),
            ("390.157-1", 0, "nvidia-cuda-runtime-cu11<0"),
        ],
    )
    def test_what_a_driver_runs(self, driver: str, major: int, constraint: str) -> None:
        limit = cuda_limit(rules(), [deb("libcuda1", driver)])
        assert limit is not None
        assert limit.major == major
        assert constraint in limit.constraints

    def test_newest_driver_forbids_nothing(self) -> None:
        limit = cuda_limit(rules(), [deb("libcuda1", "610.57.04-1")])
        assert limit is not None
        assert limit.constraints == ()

    def test_without_a_driver_there_is_no_limit(self) -> None:
        assert cuda_limit(rules(), [deb("libcudart12", "12.4.127~12.4.1-2")]) is None

    @pytest.mark.parametrize(
        ("name", "version", "major"),
        [
            ("nvidia-cudnn-cu13", "9.26.0.51", 13),
            ("jax-cuda12-plugin", "0.12.0.1", 12),
            ("cupy-cuda13x", "14.0.0", 13),
            ("cuda-toolkit", "13.2.2", 13),
            ("nvidia-cuda-runtime", "13.2.86", 13),
            ("cuda-bindings", "12.9.4", 12),
            ("torch", "2.11.0+cu128", 12),
            ("torchvision", "0.29.0+cu130", 13),
            # Versions of their own.
            ("cuda-pathfinder", "1.9.1", None),
            ("nvidia-cublas", "13.4.1.3", None),
            ("torch", "2.15.0", None),
            ("torch", "2.15.0+cpu", None),
            ("tensorflow", "2.21.0", None),
        ],
    )
    def test_which_cuda_a_wheel_belongs_to(self, name: str, version: str, major: int | None) -> None:
        assert rules().cuda_wheels.major(name, version) == major

    def test_local_version_tells_too(self, bench: Bench) -> None:
        """Of an index that has wheels with CUDA inside, and so no others that would tell."""
        torch = "torch-2.14.0+cu130-cp313-cp313-manylinux_2_28_x86_64.whl"
        assert bench.refused(("libcuda1", "550.163.01-2"), wheels=(torch,)).where == torch
        bench.fits(("libcuda1", "580.95.05-1"), wheels=(torch,))


class TestBoard:
    RUNTIME = "nvidia_cuda_runtime_cu12-12.8.90-py3-none-manylinux2014_aarch64.whl"
    TORCH = "torch-{}-cp313-cp313-{}_aarch64.whl"

    def test_every_board_has_its_rule(self) -> None:
        assert sorted(rules().boards) == sorted(get_args(Board))

    def test_server_wheels_on_an_orin(self, bench: Bench) -> None:
        """bitsandbytes-foundation/bitsandbytes #1930: wheels of the common index fail on it at their first kernel."""
        bench.say("board: orin\n")
        problem = bench.refused(
            wheels=(self.TORCH.format("2.9.1", "manylinux_2_28"), self.RUNTIME), architecture="arm64"
        )
        assert problem.what == "CUDA wheels for servers do not run on a Jetson Orin"
        assert problem.where == self.RUNTIME
        assert "`repositories.NAME.wheels`" in problem.remedy

    def test_wheels_of_the_board_and_without_cuda(self, bench: Bench) -> None:
        bench.say("board: orin\n")
        for version, platform in (("2.9.1+cu126", "linux"), ("2.10.0", "manylinux_2_28")):
            bench.fits(wheels=(self.TORCH.format(version, platform),), architecture="arm64")

    def test_cuda_of_the_runtime_beside_it(self, bench: Bench) -> None:
        """torch 2.9.1 does not say in its version for which CUDA it is."""
        bench.say("board: thor\n")
        torch = self.TORCH.format("2.9.1", "manylinux_2_28")
        assert bench.refused(wheels=(self.RUNTIME, torch), architecture="arm64").where == torch
        thirteen = "nvidia_cuda_runtime-13.0.96-py3-none-manylinux2014_aarch64.whl"
        bench.fits(wheels=(thirteen, torch), architecture="arm64")

    def test_unknown_release_is_told_and_not_refused(self, bench: Bench) -> None:
        bench.say("board: thor\n")
        verdict = bench.judge(wheels=(self.TORCH.format("9.0.0+cu140", "manylinux_2_28"),), architecture="arm64")
        assert verdict.problems == ()
        assert verdict.unknown == ("for which GPUs torch 9.0.0+cu140 (CUDA 14.0) has code: that shows on the board",)

    def test_of_another_architecture(self, bench: Bench) -> None:
        bench.say("board: orin\n")
        problem = bench.refused()
        assert problem.what == "the board orin does not fit the architecture amd64"
        assert problem.where == bench.sample.at("profiles/small.yaml", "board:")

    def test_naming_one_changes_the_recipe(self, bench: Bench) -> None:
        """So that the lock is judged again."""
        before = load_recipe(bench.sample.project, "small").digest()
        bench.say("board: orin\n")
        assert load_recipe(bench.sample.project, "small").digest() != before


class TestRelease:
    DEBIAN_13 = (("libc6", "2.41-12+deb13u5"), ("python3", "3.13.5-1"))

    def test_wheels_that_run(self, bench: Bench) -> None:
        names = [
            "a-1-py3-none-any.whl",
            "b-1-py2.py3-none-any.whl",
            "c-1-cp310-abi3-manylinux_2_26_x86_64.manylinux_2_28_x86_64.whl",
            "d-1-cp313-cp313-manylinux1_x86_64.manylinux_2_5_x86_64.whl",
            "e-1-cp313-cp313-manylinux2014_x86_64.whl",
            "f-1-cp313-none-manylinux_2_41_x86_64.whl",
            "g-1-cp313-cp313-linux_x86_64.whl",
        ]
        bench.fits(*self.DEBIAN_13, wheels=tuple(names))

    @pytest.mark.parametrize(
        "tag",
        [
            "cp313-cp313-manylinux_2_42_x86_64",
            "cp312-cp312-manylinux_2_28_x86_64",
            "cp314-abi3-manylinux_2_28_x86_64",
            "cp313-cp313t-manylinux_2_28_x86_64",
            "cp313-cp313-musllinux_1_2_x86_64",
            "cp313-cp313-manylinux_2_28_aarch64",
        ],
    )
    def test_wheels_that_do_not(self, bench: Bench, tag: str) -> None:
        problem = bench.refused(*self.DEBIAN_13, wheels=(f"a-1-{tag}.whl", "b-1-py3-none-any.whl"))
        assert problem.what == "wheels do not run on glibc 2.41 and Python 3.13 of the image"
        assert problem.where == f"a-1-{tag}.whl"
        assert problem.remedy.startswith("releases with wheels up to manylinux_2_41 for Python 3.13")

    def test_wheels_of_an_older_glibc(self, bench: Bench) -> None:
        wheels = ("a-1-cp311-cp311-manylinux_2_28_x86_64.whl", "b-1-cp311-cp311-manylinux_2_40_x86_64.whl")
        assert bench.refused(("libc6", "2.36-9"), ("python3", "3.11.2-1"), wheels=wheels).where == wheels[1]


@pytest.mark.parametrize("path", sorted(PROJECT.locks.glob("*.json")), ids=lambda path: path.stem)
def test_our_own_locks_fit(path: Path) -> None:
    lock = read_lock(path)
    assert judge(rules(), load_recipe(PROJECT, lock.profile), lock, {}, {}) == Verdict((), ())


def test_rules_name_their_sources() -> None:
    told = rules()
    sources = [told.driver.source, told.compiled_modules.source]
    for rows in (told.kernels, told.cuda, told.boards.values(), told.gpu_code):
        sources += [row.source for row in rows]
    assert min(map(len, sources)) > 20
