"""The parts of the driver fit together and the kernel takes its modules. Few machines that run this have a GPU."""

import re

import pytest

MODULES = ("nvidia", "nvidia-uvm", "nvidia-modeset", "nvidia-drm", "nvidia-peermem")


@pytest.fixture(scope="module")
def version(manifest):
    """The driver's own version, as its user space has it."""
    (found,) = (package["version"] for package in manifest["packages"] if package["name"] == "libcuda1")
    return re.match("[0-9.]+", found)[0]


@pytest.fixture(scope="module")
def gpu(host):
    return host.run("/usr/lib/lichen/has-nvidia-gpu").rc == 0


@pytest.mark.parametrize("module", MODULES)
def test_modules_are_of_the_version_and_for_the_running_kernel(host, version, module):
    release = host.check_output("uname -r")
    assert host.check_output(f"modinfo -F version {module}") == version
    assert host.check_output(f"modinfo -F vermagic {module}").split()[0] == release
    assert f"/lib/modules/{release}/updates/" in host.check_output(f"modinfo -F filename {module}")


@pytest.mark.parametrize("module", MODULES)
def test_modules_are_signed_where_the_kernel_wants_it(host, module):
    if host.file("/sys/module/module/parameters/sig_enforce").content_string.strip() != "Y":
        pytest.skip("this kernel takes modules without a signature")
    assert host.check_output(f"modinfo -F signer {module}")


def test_firmware_and_user_space_are_of_the_same_version(host, version):
    for name in ("gsp_ga10x.bin", "gsp_tu10x.bin"):
        assert host.file(f"/usr/lib/firmware/nvidia/{version}/{name}").size > 1 << 20
    libraries = host.check_output("ldconfig -p")
    for name in ("libcuda.so.1", "libnvidia-ml.so.1"):
        (path,) = {line.rpartition(" ")[2] for line in libraries.splitlines() if line.strip().startswith(f"{name} ")}
        assert host.check_output(f"realpath {path}").endswith(f".so.{version}")


def test_no_other_driver_takes_the_gpu(host):
    assert "nouveau" not in host.file("/proc/modules").content_string
    assert host.run("modprobe nouveau").rc != 0


def test_nothing_is_compiled_on_the_machine(host):
    for program in ("cc", "dkms", "gcc", "make"):
        assert not host.exists(program)
    installed = host.check_output("dpkg-query --show --showformat='${Package}\\n'").splitlines()
    assert [
        name for name in installed if re.search("^(gcc|make$)|dkms|-headers-", name) and not name.endswith("-base")
    ] == []


def test_module_finds_no_gpu_where_there_is_none(host, gpu):
    """Neither its vermagic nor its signature is in the way."""
    if gpu:
        pytest.skip("this machine has a GPU of NVIDIA")
    done = host.run("modprobe nvidia")
    assert (done.rc, "No such device" in done.stderr) == (1, True), done.stderr
    assert host.check_output("systemctl show -p ActiveState --value nvidia-devices.service") == "inactive"
    assert host.check_output("systemctl show -p ConditionResult --value nvidia-persistenced.service") == "no"
    said = host.run("nvidia-smi")
    assert (said.rc, "couldn't communicate with the NVIDIA driver" in said.stdout) == (9, True), said


def test_gpu_is_there_with_its_nodes(host, gpu, version):
    if not gpu:
        pytest.skip("this machine has no GPU of NVIDIA")
    found = host.check_output("nvidia-smi --query-gpu=driver_version --format=csv,noheader").splitlines()
    assert set(found) == {version}
    for node in ("nvidiactl", "nvidia-uvm", *(f"nvidia{number}" for number in range(len(found)))):
        assert host.file(f"/dev/{node}").exists
