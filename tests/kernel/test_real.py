"""The classroom's kernel as it is really built: compiled here when it is not kept yet, which takes a while."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import zstandard

from builder.data.fragment import parse_config
from builder.data.kernel import KernelBuild
from builder.data.lock import read_lock
from builder.foundation.errors import InputError
from builder.foundation.place import Cache, Project
from builder.foundation.process import Runner
from builder.foundation.toolbox import Toolbox
from builder.foundation.workbench import Workbench
from builder.steps.profiles import load_buildable
from builder.steps.render import kernel_build
from builder.verbs.build import provide_component
from builder.verbs.kernel import kernel_config, kernel_diff
from builder.verbs.lock import lock
from tests.conftest import CLASSROOM, REPOSITORY
from tests.kernel.conftest import inside

MODULE = """\
#include <linux/module.h>
static int __init hello(void) { pr_info("hello\\n"); return 0; }
module_init(hello);
MODULE_DESCRIPTION("A module from outside");
MODULE_LICENSE("GPL");
"""


@dataclass(frozen=True)
class BuiltKernel:
    """The packages of a kernel, unpacked."""

    build: KernelBuild
    folder: Path
    tree: Path

    @property
    def package(self) -> Path:
        return self.folder / f"{self.build.image_package}.deb"

    @property
    def modules(self) -> Path:
        return self.tree / "usr/lib/modules" / self.build.release


@pytest.fixture(scope="module")
def bench(cache: Cache) -> Workbench:
    return Workbench(REPOSITORY, cache)


@pytest.fixture(scope="module")
def built(bench: Workbench, compiled_kernel: None, tmp_path_factory: pytest.TempPathFactory) -> BuiltKernel:
    build = kernel_build(load_buildable(REPOSITORY, CLASSROOM), read_lock(REPOSITORY.lock(CLASSROOM, "amd64")))
    assert build
    folder = provide_component(bench, CLASSROOM, "modules") / "modules/image"
    tree = tmp_path_factory.mktemp("kernel")
    subprocess.run(["dpkg-deb", "-R", folder / f"{build.image_package}.deb", tree], check=True)
    return BuiltKernel(build, folder, tree)


def test_package_is_one_that_debian_could_have_made(built: BuiltKernel) -> None:
    control = dict(
        line.split(": ", 1) for line in (built.tree / "DEBIAN/control").read_text().splitlines() if line[0] > " "
    )
    assert (control["Package"], control["Version"]) == (built.build.image_package, built.build.version)
    assert (control["Architecture"], control["Source"]) == ("amd64", f"linux ({built.build.source.version})")
    for script in ("preinst", "postinst", "prerm", "postrm"):
        text = (built.tree / "DEBIAN" / script).read_text()
        assert f"/etc/kernel/{script}.d" in text
        subprocess.run(["sh", "-n", built.tree / "DEBIAN" / script], check=True)
    for name in ("vmlinuz", "config", "System.map"):
        assert (built.tree / f"boot/{name}-{built.build.release}").is_file()
    assert "GPL-2" in (built.tree / f"usr/share/doc/{built.build.image_package}/copyright").read_text()
    done = subprocess.run(["md5sum", "--check", "--quiet", "DEBIAN/md5sums"], cwd=built.tree, check=False)
    assert done.returncode == 0


def test_kernel_bears_no_trace_of_who_built_it(built: BuiltKernel) -> None:
    file = subprocess.run(
        ["grep", "-aoE", "lichen@lichen|[(]root@[^)]*[)]", built.tree / f"boot/vmlinuz-{built.build.release}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(file.stdout.split()) == {"lichen@lichen"}
    modules = [unpacked(path) for path in sorted(built.modules.rglob("*.ko.zst"))]
    assert modules
    assert all(content.startswith(b"\x7fELF") and b"/buildroot" not in content for content in modules)


def unpacked(module: Path) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(module.read_bytes())


def test_modules_are_compressed_unsigned_and_of_this_release(built: BuiltKernel) -> None:
    modules = [*built.modules.rglob("*.ko*")]
    assert modules
    assert {path.suffix for path in modules} == {".zst"}
    for path in modules:
        content = unpacked(path)
        assert f"vermagic={built.build.release} ".encode() in content
        assert not content.endswith(b"~Module signature appended~\n")
    assert not [*built.modules.glob("modules.dep*")], "depmod's files are made when the package is configured"
    assert (built.modules / "modules.builtin").is_file()


def test_final_configuration_has_what_fragments_require(bench: Workbench, built: BuiltKernel) -> None:
    final = parse_config((built.tree / f"boot/config-{built.build.release}").read_text())
    required = [item for item in built.build.kernel.settings("amd64") if item.required]
    assert [item for item in required if not item.met_by(final.get(item.symbol, "n"))] == []
    shown = {item.name: item for item in kernel_config(bench, CLASSROOM)}
    assert shown["SCHED_CLASS_EXT"].value == "y"
    assert re.search(r"sched-ext\.config:\d+$", shown["SCHED_CLASS_EXT"].place)
    assert (shown["64BIT"].value, shown["64BIT"].place) == ("y", "")
    assert {name: item.value for name, item in shown.items() if item.value != "n"} == final


def test_two_kernels_are_compared_symbol_by_symbol(bench: Workbench, built: BuiltKernel, tmp_path: Path) -> None:
    path = built.tree / f"boot/config-{built.build.release}"
    assert kernel_diff(bench, CLASSROOM, str(path)) == {}
    other = tmp_path / "config"
    other.write_text(path.read_text().replace("CONFIG_SCHED_CLASS_EXT=y\n", "CONFIG_NEW=m\n"))
    assert kernel_diff(bench, f"{CLASSROOM}.amd64", str(other)) == {"NEW": ("n", "m"), "SCHED_CLASS_EXT": ("y", "n")}


def test_headers_build_another_module(built: BuiltKernel, toolchain: Toolbox, tmp_path: Path) -> None:
    folder = built.folder.parent / "headers"
    subprocess.run(["dpkg-deb", "-x", folder / f"{built.build.headers_package}.deb", tmp_path], check=True)
    headers = tmp_path / f"usr/src/{built.build.headers_package}"
    own = tmp_path / "own"
    own.mkdir()
    (own / "Makefile").write_text("obj-m := hello.o\n")
    (own / "hello.c").write_text(MODULE)
    Runner().run(inside(toolchain, tmp_path, ["make", "-C", headers, f"M={own}", "modules"], []))
    assert f"vermagic={built.build.release} ".encode() in (own / "hello.ko").read_bytes()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    for name in ("profiles", "overlays", "kernel-configs"):
        shutil.copytree(REPOSITORY.root / name, tmp_path / name, symlinks=True)
    return Project(tmp_path)


def test_gate_stops_the_build_and_names_every_setting(project: Project, cache: Cache) -> None:
    """Unmet: what it needs is off. Unknown: no such symbol. Preferred ones stop nothing."""
    fragment = project.root / "kernel-configs/low-latency.config"
    header = "# Purpose: a test\n# Cost: none\n# Source: nowhere\n"
    fragment.write_text(
        f"{header}CONFIG_INFINIBAND_IPOIB=m\nCONFIG_SCHED_CLAS_EXT=y\nCONFIG_NO_SUCH_THING=y # preferred\n"
    )
    profile = project.profiles / f"{CLASSROOM}.yaml"
    profile.write_text(profile.read_text().replace("fragments: [base, ", "fragments: [low-latency, base, "))
    lock(Workbench(project, cache), CLASSROOM)
    with pytest.raises(InputError) as caught:
        provide_component(Workbench(project, cache), CLASSROOM, "kernel-config")
    told = {problem.where: problem for problem in caught.value.problems}
    assert sorted(told) == [f"{fragment}:4", f"{fragment}:5"]
    assert "CONFIG_INFINIBAND_IPOIB" in told[f"{fragment}:4"].what
    assert "wanted m, got n; it depends on CONFIG_INFINIBAND=n" in told[f"{fragment}:4"].why
    assert "SCHED_CLASS_EXT" in told[f"{fragment}:5"].remedy
