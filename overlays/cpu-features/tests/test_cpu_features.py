"""What is told agrees with the kernel, and on RISC-V with what a program really gets when it uses vectors."""

import json

import pytest

MACHINES = {"amd64": "x86_64", "arm64": "aarch64", "riscv64": "riscv64"}


@pytest.fixture(scope="module")
def report(host):
    return json.loads(host.check_output("cpu-features --json"))


def test_report_is_of_this_machine(host, image, report):
    assert report["machine"] == MACHINES[image["architecture"]] == host.check_output("uname -m")
    assert report["processors"] == int(host.check_output("nproc --all"))


def test_every_boot_has_the_report_in_its_journal(host, report):
    said = host.check_output("journalctl --boot --unit cpu-features.service --output cat --no-pager")
    assert f"machine: {report['machine']}" in said.splitlines()
    assert f"extensions: {' '.join(report['extensions']) or 'none'}" in said.splitlines()


def test_extensions_are_those_that_the_kernel_lists(host, report):
    told = set(host.check_output("cat /proc/cpuinfo").replace("_", " ").split())
    assert {name for names in report["extensions"] for name in names.split("_")} - {"v"} <= told


def test_vector_extension_of_riscv_is_found_and_usable(host, image, report):
    """The machine that tests images has every extension that QEMU knows; no other architecture has this one."""
    if image["architecture"] != "riscv64":
        assert not {"hwprobe", "allowed"} & set(report)
        return
    assert "v" in report["extensions"]
    assert report["hwprobe"]
    assert report["allowed"]
    # V demands registers of 128 bits or more, always a power of two.
    assert report["vector_bits"] >= 128
    assert report["vector_bits"].bit_count() == 1


def test_blas_fits_the_processor(host, report):
    """Where OpenBLAS is installed, it says which of its kernels serve this processor."""
    installed = host.run("ldconfig -p | grep -q libopenblas.so.0").rc == 0
    assert bool(report["blas"]) == installed
