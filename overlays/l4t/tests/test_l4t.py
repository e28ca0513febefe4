"""What NVIDIA's packages lay down. Its GPU is another matter: that wants a board and modules of its own."""

import pytest

RELEASE = "36.4."
VENDOR = ("nvidia-l4t-core", "nvidia-l4t-cuda", "nvidia-l4t-firmware")


@pytest.mark.parametrize("name", VENDOR)
def test_package_is_of_the_release(host, name):
    assert host.package(name).version.startswith(RELEASE)


@pytest.mark.parametrize("library", ["libcuda.so.1", "libcudart.so.12", "libcublas.so.12", "libcudnn.so.9"])
def test_loader_finds_the_library(host, library):
    assert library in host.check_output("/sbin/ldconfig -p")


def test_boot_firmware_is_left_alone(host):
    """The mark without which the packages refuse any machine but a board, and write firmware on one."""
    assert host.file("/opt/nvidia/l4t-packages/.nv-l4t-disable-boot-fw-update-in-preinstall").exists
