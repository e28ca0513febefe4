"""Programs for BPF, compiled with the types of the image's own kernel; anew exactly when what decides them moves."""

from __future__ import annotations

import gzip
import lzma
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.data.lock import Lock
from builder.foundation.errors import InputError
from builder.steps.profiles import load_buildable
from builder.steps.render import rendered_tree
from builder.verbs.plan import image_components
from builder.verbs.resolve import wanted_packages
from tests.build.test_plan import LOCK, deb
from tests.kernel.test_components import HEADER, KERNEL, OWN, moved
from tests.profiles.sample import Sample

EXTRACT = Path(__file__).resolve().parents[2] / "builder/templates/bpf/extract-btf"
DEBIAN = deb("linux-image-6.12.107-amd64", "image", content="d")
PROGRAMS = {"bpf-toolchain", "bpf"}


def bpf_lock(lock: Lock) -> Lock:
    clang = deb("clang-19", "bpf", content="c")
    return lock.model_copy(update={"debs": (*lock.debs, DEBIAN, clang)})


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    made = Sample(tmp_path / "project")
    made.write("overlays/core/bpf/guard.bpf.c", "int one;\n")
    made.write("overlays/core/bpf/guard.h", "int two;\n")
    return made


@pytest.fixture
def own_kernel(sample: Sample) -> Sample:
    sample.swap("profiles/base.yaml", "kernel:\n", "kernel:\n  source: linux-source-6.12\n  fragments: [one]\n")
    sample.write("kernel-configs/one.config", f"{HEADER}CONFIG_A=y\n")
    return sample


def keys(sample: Sample, lock: Lock = LOCK) -> dict[str, str]:
    recipe = load_buildable(sample.project, "small")
    return {item.name: item.key for item in image_components(recipe, bpf_lock(lock))}


class TestComponents:
    def test_beside_debians_kernel(self, sample: Sample) -> None:
        assert [*keys(sample)] == ["mkosi", "tools", "bpf-toolchain", "base", "initrd", "python", "bpf", "image"]

    def test_after_a_kernel_of_our_own(self, own_kernel: Sample) -> None:
        recipe = load_buildable(own_kernel.project, "small")
        components = {item.name: item for item in image_components(recipe, bpf_lock(OWN))}
        assert components["bpf"].needs == ("mkosi", "bpf-toolchain", "kernel")
        assert "bpf" in components["image"].needs

    def test_a_header_moves_programs_and_no_kernel(self, own_kernel: Sample) -> None:
        before = keys(own_kernel, OWN)
        own_kernel.write("overlays/core/bpf/guard.h", "int three;\n")
        assert moved(before, keys(own_kernel, OWN)) == {"bpf", "image"}

    def test_a_kernel_moves_them(self, own_kernel: Sample) -> None:
        before = keys(own_kernel, OWN)
        own_kernel.add("kernel-configs/one.config", "CONFIG_B=y\n")
        assert moved(before, keys(own_kernel, OWN)) == {*KERNEL, "bpf", "image"}

    def test_a_kernel_is_the_one_of_an_image_without_programs(self, own_kernel: Sample) -> None:
        before = keys(own_kernel, OWN)
        for name in ("guard.bpf.c", "guard.h"):
            (own_kernel.root / "overlays/core/bpf" / name).unlink()
        (own_kernel.root / "overlays/core/bpf").rmdir()
        assert moved(before, keys(own_kernel, OWN)) == {*PROGRAMS, "image"}

    @pytest.mark.parametrize(
        ("name", "expected"), [("clang-19", {*PROGRAMS, "image"}), (DEBIAN.name, {"base", "bpf", "image"})]
    )
    def test_new_version_of_a_package(self, sample: Sample, name: str, expected: set[str]) -> None:
        recipe, lock = load_buildable(sample.project, "small"), bpf_lock(LOCK)
        debs = [item.model_copy(update={"sha256": "f" * 64}) if item.name == name else item for item in lock.debs]
        newer = lock.model_copy(update={"debs": tuple(debs)})
        after = {item.name: item.key for item in image_components(recipe, newer)}
        assert moved(keys(sample), after) == expected

    def test_a_newer_lock_has_the_same_programs(self, sample: Sample) -> None:
        later = LOCK.model_copy(update={"source_date_epoch": LOCK.source_date_epoch + 86400})
        assert moved(keys(sample), keys(sample, later)).isdisjoint(PROGRAMS)


def test_compilers_are_locked_where_there_are_programs(sample: Sample) -> None:
    assert "clang-19" in wanted_packages(load_buildable(sample.project, "small"), "amd64")["bpf"]
    for path in (sample.root / "overlays/core/bpf").iterdir():
        path.unlink()
    (sample.root / "overlays/core/bpf").rmdir()
    assert "bpf" not in wanted_packages(load_buildable(sample.project, "small"), "amd64")


def test_rendered_tree_has_them_for_plain_mkosi(own_kernel: Sample) -> None:
    tree = rendered_tree(load_buildable(own_kernel.project, "small"), bpf_lock(OWN))
    assert tree["bpf/programs/core/guard.h"].content == b"int two;\n"
    assert b"../kernel/mkosi.output:mkosi.output" in tree["bpf/mkosi.conf.d/kernel.conf"].content
    assert b"ToolsTree=%D/../bpf-toolchain/mkosi.output/bpf-toolchain" in tree["bpf/mkosi.conf"].content
    assert b"ExtraTrees=bpf/mkosi.output/bpf" in tree["mkosi.conf.d/image.conf"].content


def test_debians_kernel_is_unpacked_for_its_types(sample: Sample) -> None:
    tree = rendered_tree(load_buildable(sample.project, "small"), bpf_lock(LOCK))
    assert tree["bpf/kernel.deb"].stored == DEBIAN
    assert "bpf/mkosi.conf.d/kernel.conf" not in tree


class TestProblems:
    def complaints(self, sample: Sample) -> str:
        with pytest.raises(InputError) as caught:
            load_buildable(sample.project, "small")
        return str(caught.value)

    def test_no_program(self, sample: Sample) -> None:
        (sample.root / "overlays/core/bpf/guard.bpf.c").unlink()
        assert "no file in it ends in .bpf.c" in self.complaints(sample)

    def test_two_of_one_name(self, sample: Sample) -> None:
        sample.write("overlays/web/bpf/guard.bpf.c", "int other;\n")
        told = self.complaints(sample)
        assert "two programs claim one place" in told
        assert "overlays/core/bpf/guard.bpf.c has the same name" in told

    def test_a_folder_within(self, sample: Sample) -> None:
        sample.write("overlays/core/bpf/include/more.h", "")
        assert "plain files only" in self.complaints(sample)


def btf(size: int = 64, strings: bytes = b"\0int\0") -> bytes:
    """As little as has the shape: no real types are needed to find it."""
    return b"\x9f\xeb\x01\x00\x18\x00\x00\x00" + struct.pack("<4I", 0, size, size, len(strings)) + b"t" * size + strings


def bzimage(payload: bytes) -> bytes:
    head = bytearray(0x400)
    head[0x1F1] = 1
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<2I", head, 0x248, 16, len(payload))
    return bytes(head) + b"c" * 16 + payload


def zboot(payload: bytes) -> bytes:
    return b"MZ\0\0zimg" + struct.pack("<2I", 64, len(payload)) + b"\0" * 48 + payload


def zstd(data: bytes) -> bytes:
    return subprocess.run(["zstd", "--stdout"], input=data, capture_output=True, check=True).stdout


class TestExtraction:
    IMAGE = b"code" * 100 + btf() + b"data" * 100

    def extracted(self, kernel: bytes, folder: Path) -> subprocess.CompletedProcess[bytes]:
        (folder / "vmlinuz").write_bytes(kernel)
        words = [sys.executable, str(EXTRACT), str(folder / "vmlinuz")]
        return subprocess.run(words, capture_output=True, check=False)

    @pytest.mark.parametrize("wrap", [bzimage, zboot, bytes], ids=["bzImage", "zboot", "whole"])
    @pytest.mark.parametrize(
        "compress",
        [zstd, lambda data: zstd(data) + b"\x10\0\0\0", gzip.compress, lzma.compress, bytes],
        ids=["zstd", "zstd with size", "gzip", "xz", "plain"],
    )
    def test_every_form(
        self, wrap: Callable[[bytes], bytes], compress: Callable[[bytes], bytes], tmp_path: Path
    ) -> None:
        done = self.extracted(wrap(compress(self.IMAGE)), tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout == btf()

    def test_what_only_begins_like_it_is_passed_by(self, tmp_path: Path) -> None:
        torn = btf()[:24] + b"\xff" * 8
        assert self.extracted(torn + btf(16) + btf(128) + btf()[:40], tmp_path).stdout == btf(128)

    @pytest.mark.parametrize("kernel", [b"", b"MZ", b"code" * 100, btf()[:-1], zstd(b"x" * 100)[:-8]])
    def test_no_types(self, kernel: bytes, tmp_path: Path) -> None:
        done = self.extracted(kernel, tmp_path)
        assert done.returncode == 1
        assert b"it needs CONFIG_DEBUG_INFO_BTF" in done.stderr
