"""Debian's components: main alone unless a profile names more, and drivers locked from wherever they are."""

from __future__ import annotations

import pytest

from builder.data import toolchain
from builder.foundation.errors import InputError
from builder.verbs.lock import check_lock
from tests.kernel.test_components import HEADER
from tests.lock.archive import Package, named
from tests.lock.world import World

OFFERED = ("main", "contrib", "non-free", "non-free-firmware")
HELLO = Package("hello-kernel-dkms", "2.0-1", "amd64", depends="dkms", component="contrib")


@pytest.fixture(autouse=True)
def _offered(world: World) -> None:
    world.without_wheels()
    for suite in (world.trixie, world.updates, world.security):
        suite.components = OFFERED
    world.trixie.add(
        Package("gadget", component="contrib", depends="blob"), Package("blob", component="non-free-firmware"), HELLO
    )
    world.trixie.add(Package("linux-source-6.12", "6.12.118-1"), Package("patch", "2.8-2", "amd64"))
    own = {*toolchain.toolchain_packages("amd64")}.difference(item.name for item in world.trixie.packages)
    world.trixie.add(*named(sorted(own)))
    world.publish()


def driven(world: World) -> None:
    """The profile gets a kernel of its own, and an overlay names a driver."""
    world.sample.write("kernel-configs/one.config", f"{HEADER}CONFIG_A=y\n")
    kernel = "kernel: {source: linux-source-6.12, fragments: [one]}\ncomponents: [contrib]\n"
    world.sample.swap("profiles/small.yaml", "kernel:\n  package: linux-image-small\n", kernel)
    world.sample.swap("profiles/small.yaml", "[amd64, arm64]", "[amd64]")
    world.sample.add("overlays/core/overlay.yaml", "drivers: [hello-kernel-dkms]\n")


def test_other_components_are_offered_only_where_a_profile_names_them(world: World) -> None:
    world.sample.swap("profiles/small.yaml", "[less, nano]", "[less, nano, gadget]")
    [problem] = world.fails(InputError)
    assert problem.what == "there is no Debian package 'gadget'"
    assert problem.why == "not in trixie (main), trixie-updates (main), trixie-security (main)"
    world.sample.add("profiles/small.yaml", "components: [non-free-firmware, contrib]\n")
    lock = world.mended()
    paths = {item.name: item.path for item in lock.debs}
    assert paths["gadget"].startswith("pool/contrib/g/gadget/")
    assert paths["blob"].startswith("pool/non-free-firmware/b/blob/")
    assert [item for item in lock.debs if item.name in ("gadget", "blob") and item.uses != ("image",)] == []


def test_order_and_main_itself_decide_nothing(world: World) -> None:
    first = world.lock().lock
    world.sample.add("profiles/small.yaml", "components: [main]\n")
    assert check_lock(world.bench(), "small") == first
    world.sample.swap("profiles/small.yaml", "components: [main]", "components: [non-free, contrib]")
    second = world.lock().lock
    assert second.resolution != first.resolution
    world.sample.swap("profiles/small.yaml", "components: [non-free, contrib]", "components: [contrib, main, non-free]")
    assert check_lock(world.bench(), "small") == second


def test_driver_is_locked_alone_and_with_what_patches_it(world: World) -> None:
    driven(world)
    lock = world.lock().lock
    assert [(item.name, item.version, item.path.split("/")[1]) for item in lock.used_by("driver")] == [
        ("hello-kernel-dkms", "2.0-1", "contrib")
    ]
    assert [item.name for item in lock.used_by("patch")] == ["patch"]
    assert {item.name for item in lock.used_by("toolchain")}.isdisjoint({"patch", "dkms", "hello-kernel-dkms"})
    assert {item.name for item in lock.used_by("image")}.isdisjoint({"patch", "dkms", "hello-kernel-dkms"})


def test_driver_that_is_not_there_is_told_with_its_place(world: World) -> None:
    driven(world)
    world.sample.swap("profiles/small.yaml", "components: [contrib]\n", "")
    [problem] = world.fails(InputError)
    assert problem.what == "there is no Debian package 'hello-kernel-dkms'"
    assert problem.where == world.sample.at("overlays/core/overlay.yaml", "hello-kernel-dkms")


def test_driver_of_another_version_than_its_user_space_is_refused(world: World) -> None:
    """ublue-os/bluefin #2845, with a module that is compiled here."""
    driven(world)
    world.trixie.add(Package("nvidia-open-kernel-dkms", "550.163.01-2", "amd64", component="contrib"))
    world.trixie.add(Package("libcuda1", "550.163.02-1", "amd64"))
    world.publish()
    world.sample.swap("overlays/core/overlay.yaml", "hello-kernel-dkms", "nvidia-open-kernel-dkms")
    world.sample.swap("profiles/small.yaml", "[less, nano]", "[less, nano, libcuda1]")
    [problem] = world.fails(InputError)
    assert problem.what == (
        "two versions of the NVIDIA driver: nvidia-open-kernel-dkms 550.163.01-2 and user space 550.163.02"
    )
    assert world.sample.at("overlays/core/overlay.yaml", "nvidia-open-kernel-dkms") in problem.where


def test_driver_that_does_not_know_the_kernel_is_refused(world: World) -> None:
    driven(world)
    world.trixie.add(Package("nvidia-open-kernel-dkms", "550.163.01-2", "amd64", component="contrib"))
    world.trixie.add(Package("linux-source-6.19", "6.19.2-1"))
    world.publish()
    world.sample.swap("overlays/core/overlay.yaml", "hello-kernel-dkms", "nvidia-open-kernel-dkms")
    world.sample.swap("profiles/small.yaml", "linux-source-6.12", "linux-source-6.19")
    [problem] = world.fails(InputError)
    assert problem.what == "linux-source-6.19 6.19.2-1 is outside of what nvidia-open-kernel-dkms 550.163.01-2 supports"
