"""Drivers: planned after the kernel, compiled by their dkms.conf, packed beside it; with the classroom's headers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import zstandard

from builder.data.lock import Lock, read_lock
from builder.foundation.errors import InputError
from builder.foundation.place import Cache
from builder.foundation.process import ProcessError, Runner
from builder.foundation.toolbox import TOOLS_PATH, Toolbox
from builder.foundation.workbench import Workbench
from builder.steps.kernels import read_module_signer, sign_modules
from builder.steps.profiles import load_buildable
from builder.steps.render import component_tree, driver_builds, kernel_build, rendered_tree, write_tree
from builder.verbs.build import provide_component
from builder.verbs.plan import image_components
from tests.build.test_plan import deb
from tests.conftest import CLASSROOM, REPOSITORY
from tests.kernel.conftest import inside
from tests.kernel.test_components import HEADER, KERNEL, OWN, moved
from tests.kernel.test_signatures import make_pair
from tests.profiles.sample import Sample

HELLO = deb("hello-kernel-dkms", "driver", content="c").model_copy(
    update={"version": "2.0-1", "path": "pool/contrib/h/hello-source/hello-kernel-dkms_2.0-1_all.deb"}
)
LOCK = OWN.model_copy(update={"debs": (*OWN.debs, HELLO, deb("patch", "patch", content="d"))})
RELEASE = "6.12.118-lichen"
PATCH = """\
--- a/hello.c
+++ b/hello.c
@@ -1,2 +1,2 @@
 #include <linux/module.h>
-MODULE_DESCRIPTION("A driver");
+MODULE_DESCRIPTION("A patched driver");
"""
SOURCE = """\
#include <linux/module.h>
MODULE_DESCRIPTION("A driver");
MODULE_LICENSE("GPL");
MODULE_VERSION("2.0");
static int places[4];
static int which;
module_param(which, int, 0);
static int __init hello(void) { WARN_ON(!THIS_MODULE); return places[which]; }
module_init(hello);
"""
CONF = """\
PACKAGE_NAME="hello"
PACKAGE_VERSION="2.0"
BUILT_MODULE_NAME[0]="hello"
BUILT_MODULE_LOCATION[0]="src"
DEST_MODULE_NAME[0]="$PACKAGE_NAME-current"
DEST_MODULE_LOCATION[0]="/updates/dkms"
MAKE[0]="make -C ${kernel_source_dir} M=${dkms_tree}/hello/2.0/build/src"
AUTOINSTALL=yes
"""


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    made = Sample(tmp_path / "project")
    made.swap("profiles/base.yaml", "kernel:\n", "kernel:\n  source: linux-source-6.12\n  fragments: [one]\n")
    made.write("kernel-configs/one.config", f"{HEADER}CONFIG_A=y\n")
    made.add("overlays/core/overlay.yaml", "drivers: [hello-kernel-dkms]\n")
    return made


def keys(sample: Sample, lock: Lock = LOCK) -> dict[str, str]:
    return {item.name: item.key for item in image_components(load_buildable(sample.project, "small"), lock)}


class TestPlan:
    def test_drivers_come_between_the_kernel_and_its_packages(self, sample: Sample) -> None:
        components = {i.name: i for i in image_components(load_buildable(sample.project, "small"), LOCK)}
        assert [*components][2:7] == ["toolchain", "kernel-config", "kernel", "drivers", "modules"]
        assert components["drivers"].needs == ("mkosi", "toolchain", "kernel")
        assert "drivers" in components["modules"].needs

    def test_another_driver_or_patch_compiles_no_kernel(self, sample: Sample) -> None:
        before = keys(sample)
        newer = [deb.model_copy(update={"sha256": "e" * 64}) if deb == HELLO else deb for deb in LOCK.debs]
        after = {"drivers", "modules", "image"}
        assert moved(before, keys(sample, LOCK.model_copy(update={"debs": tuple(newer)}))) == after
        recipe = load_buildable(sample.project, "small").digest()
        sample.write("overlays/core/drivers/hello-kernel-dkms/one.patch", PATCH)
        assert moved(before, keys(sample)) == after
        assert load_buildable(sample.project, "small").digest() != recipe

    def test_another_kernel_compiles_them_again(self, sample: Sample) -> None:
        before = keys(sample)
        sample.add("kernel-configs/one.config", "CONFIG_C=y\n")
        assert moved(before, keys(sample)) == {*KERNEL, "drivers", "image"}

    def test_kernel_is_the_one_of_a_profile_without_drivers(self, sample: Sample) -> None:
        before = keys(sample)
        sample.swap("overlays/core/overlay.yaml", "drivers: [hello-kernel-dkms]\n", "")
        assert moved(before, keys(sample, OWN)) == {"drivers", "modules", "image"}


def test_names_and_versions_follow_from_driver_and_kernel(sample: Sample) -> None:
    recipe = load_buildable(sample.project, "small")
    (driver,) = driver_builds(recipe, LOCK)
    assert (driver.name, driver.package) == ("hello-kernel", f"hello-kernel-{RELEASE}")
    assert driver.version.startswith("2.0-1+lichen.")
    assert driver.source.source_package == "hello-source"
    sample.write("overlays/core/drivers/hello-kernel-dkms/one.patch", PATCH)
    (patched,) = driver_builds(recipe, LOCK)
    assert patched.version != driver.version


def test_rendered_tree_has_drivers_for_plain_mkosi(sample: Sample) -> None:
    sample.write("overlays/core/drivers/hello-kernel-dkms/one.patch", PATCH)
    tree = rendered_tree(load_buildable(sample.project, "small"), LOCK)
    assert tree["kernel/drivers/hello-kernel/source.deb"].stored == HELLO
    assert tree["kernel/drivers/hello-kernel/000.patch"].content == PATCH.encode()
    assert "kernel/mkosi.images/drivers/drivers.finalize" in tree
    assert b"Dependencies=kernel-config,kernel,drivers" in tree["kernel/mkosi.images/modules/mkosi.conf"].content
    image = tree["mkosi.conf.d/image.conf"].content.decode()
    assert f"Packages=linux-image-{RELEASE}\n    hello-kernel-{RELEASE}\n" in image


def test_kernel_of_debian_takes_no_driver(sample: Sample) -> None:
    sample.swap("profiles/base.yaml", "  source: linux-source-6.12\n  fragments: [one]\n", "")
    with pytest.raises(InputError) as caught:
        load_buildable(sample.project, "small")
    (problem,) = caught.value.problems
    assert problem.what == "a driver needs a kernel of our own"
    assert problem.where.startswith(sample.at("overlays/core/overlay.yaml", "drivers:"))


@pytest.mark.parametrize("name", ["other-dkms/one.patch", "hello-kernel-dkms/one.diff", "one.patch"])
def test_patch_of_no_driver_is_told(sample: Sample, name: str) -> None:
    path = sample.write(f"overlays/core/drivers/{name}", PATCH)
    with pytest.raises(InputError) as caught:
        load_buildable(sample.project, "small")
    (problem,) = caught.value.problems
    assert (problem.what, problem.where) == ("the file patches no driver", str(path))


@pytest.fixture(scope="module")
def headers(cache: Cache, compiled_kernel: None) -> Path:
    """Those that the classroom's kernel left."""
    build = kernel_build(load_buildable(REPOSITORY, CLASSROOM), read_lock(REPOSITORY.lock(CLASSROOM, "amd64")))
    assert build
    folder = provide_component(Workbench(REPOSITORY, cache), CLASSROOM, "kernel")
    return folder / "kernel/headers/usr/src" / build.headers_package


def compiled(folder: Path, toolchain: Toolbox, headers: Path, conf: str = CONF, *patches: str) -> Path:
    """The module that ``compile-driver`` makes in ``folder``; this machine's patch stands for the locked one."""
    source = folder / "usr/src/hello-2.0"
    (source / "src").mkdir(parents=True)
    (source / "dkms.conf").write_text(conf)
    (source / "src/Makefile").write_text("obj-m := hello.o\n")
    (source / "src/hello.c").write_text(SOURCE)
    for number, text in enumerate(patches):
        (folder / f"{number}.patch").write_text(text.replace("hello.c", "src/hello.c"))
    for name in ("made", "bin"):
        (folder / name).mkdir()
    shutil.copy(shutil.which("patch") or "patch", folder / "bin")
    script = shutil.copy(REPOSITORY.root / "builder/templates/drivers/compile-driver", folder)
    release = headers.name.removeprefix("linux-headers-")
    command: list[str | Path] = ["bash", script, source, folder / "dkms", headers, release, "x86_64", folder / "made"]
    command += sorted(folder.glob("*.patch"))
    Runner().run(inside(toolchain, folder, command, [headers], ARCH="x86_64", PATH=f"{TOOLS_PATH}:{folder}/bin"))
    return folder / "made/hello.ko"


def test_module_is_compiled_for_the_kernel_and_the_same_everywhere(
    toolchain: Toolbox, headers: Path, tmp_path: Path
) -> None:
    release = headers.name.removeprefix("linux-headers-")
    one, other = (compiled(tmp_path / name, toolchain, headers) for name in ("one", "another/much/deeper"))
    content = one.read_bytes()
    assert f"vermagic={release} ".encode() in content
    assert str(tmp_path).encode() not in content
    assert b".debug_info" not in content
    assert content == other.read_bytes()


def test_patches_are_applied_in_order_and_one_that_does_not_fit_stops_the_build(
    toolchain: Toolbox, headers: Path, tmp_path: Path
) -> None:
    again = PATCH.replace('"A driver"', '"A patched driver"').replace(
        '+MODULE_DESCRIPTION("A p', '+MODULE_DESCRIPTION("A twice p'
    )
    assert (
        b"description=A twice patched driver"
        in compiled(tmp_path / "one", toolchain, headers, CONF, PATCH, again).read_bytes()
    )
    with pytest.raises(ProcessError) as caught:
        compiled(tmp_path / "other", toolchain, headers, CONF, again)
    assert "FAILED" in caught.value.completed.stdout


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('BUILD_EXCLUSIVE_KERNEL="^7\\."', "not for Linux"),
        ('BUILD_EXCLUSIVE_ARCH="aarch64"', "not for x86_64"),
        ('BUILD_EXCLUSIVE_CONFIG="!CONFIG_MODULES"', "the kernel's configuration does not fit: !CONFIG_MODULES"),
        (
            'BUILD_EXCLUSIVE_CONFIG="CONFIG_NO_SUCH_THING"',
            "the kernel's configuration does not fit: CONFIG_NO_SUCH_THING",
        ),
        ('BUILD_DEPENDS="other"', "drivers that build on others are not provided for"),
    ],
)
def test_driver_that_is_not_for_this_kernel_is_refused(
    toolchain: Toolbox, headers: Path, tmp_path: Path, line: str, why: str
) -> None:
    with pytest.raises(ProcessError) as caught:
        compiled(tmp_path, toolchain, headers, f"{CONF}{line}\n")
    assert f"hello 2.0: {why}" in caught.value.completed.stderr


def test_other_ways_of_dkms_conf(toolchain: Toolbox, headers: Path, tmp_path: Path) -> None:
    """The last command that matches counts, a quoted one is taken as it is, and scripts run before and after."""
    conf = f"""{CONF}
MAKE[0]="false"
MAKE[1]="'make' -C ${{kernel_source_dir}} M=${{dkms_tree}}/hello/2.0/build/src"
MAKE_MATCH[1]="^6\\."
MAKE[2]="false"
MAKE_MATCH[2]="^5\\."
BUILD_EXCLUSIVE_CONFIG="CONFIG_MODULES !CONFIG_NO_SUCH_THING"
PRE_BUILD="before"
POST_BUILD="../build/before again"
"""
    source = tmp_path / "usr/src/hello-2.0"
    source.mkdir(parents=True)
    (source / "before").write_text('#!/bin/sh\necho "$*" >> log\n')
    (source / "before").chmod(0o755)
    assert compiled(tmp_path, toolchain, headers, conf).is_file()
    assert (tmp_path / "dkms/hello/2.0/build/log").read_text() == "\nagain\n"


def test_packages_hold_the_driver_apart_from_the_kernel(sample: Sample, toolchain: Toolbox, tmp_path: Path) -> None:
    """Signed with it, compressed with it, and installed after it."""
    pair = make_pair(tmp_path / "pair")
    place = f"usr/lib/modules/{RELEASE}"
    parts = {
        f"kernel/image/{place}/kernel/ext4.ko": "one",
        f"kernel/image/boot/config-{RELEASE}": "CONFIG_A=y\n",
        "kernel/headers/usr/src/Makefile": "",
        "kernel/copyright": "License: GPL-2\n",
        "kernel/date": "1700000000\n",
        f"drivers/image/{place}/updates/hello-kernel/hello.ko": "two",
        f"drivers/hello-kernel-{RELEASE}/copyright": "License: Expat\n",
        f"drivers/hello-kernel-{RELEASE}/provides": "hello-kernel-2.0, hello-any (= 2.0)",
    }
    root, work = tmp_path / "root", tmp_path / "root/tree"
    write_tree(component_tree("modules", load_buildable(sample.project, "small"), LOCK), work)
    for name, text in parts.items():
        path = work / "mkosi.output" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    signer = read_module_signer(pair.key, pair.certificate, [])
    for part in ("kernel", "drivers"):
        sign_modules(work / f"mkosi.output/{part}/image", signer, work / "signatures")
    made = root / "made"
    made.mkdir()
    (script,) = work.glob("**/modules.finalize")
    environment = {"SRCDIR": str(work), "BUILDROOT": str(made)}
    Runner().run(inside(toolchain, root, [script], [], **environment))

    assert {path.name for path in (made / "image").glob("*.deb")} == {
        f"linux-image-{RELEASE}.deb",
        f"hello-kernel-{RELEASE}.deb",
    }
    assert sorted(path.name for path in made.iterdir()) == ["config", "headers", "image"]
    listing = (made / f"image/hello-kernel-{RELEASE}.list").read_text().splitlines()
    assert f"/{place}/updates/hello-kernel/hello.ko.zst" in listing
    assert "updates" not in (made / f"image/linux-image-{RELEASE}.list").read_text()

    unpacked = tmp_path / "unpacked"
    subprocess.run(["dpkg-deb", "-R", made / f"image/hello-kernel-{RELEASE}.deb", unpacked], check=True)
    control = (unpacked / "DEBIAN/control").read_text()
    assert "Provides: hello-kernel-2.0, hello-any (= 2.0)\n" in control
    assert "Source: hello-source (2.0-1)\n" in control
    assert f"Depends: linux-image-{RELEASE} (= 6.12.118-1+lichen." in control
    assert (unpacked / f"usr/share/doc/hello-kernel-{RELEASE}/copyright").read_text() == "License: Expat\n"
    assert "depmod 6.12.118-lichen" in (unpacked / "DEBIAN/postinst").read_text()
    packed = unpacked / place / "updates/hello-kernel/hello.ko.zst"
    module = zstandard.ZstdDecompressor().decompressobj().decompress(packed.read_bytes())
    assert module.startswith(b"two")
    assert module.endswith(b"~Module signature appended~\n")
