"""Without a GPU nothing is tested, and that is said; with one the machine is accepted."""

import json

import pytest

PYTHON = "PYTHONPATH=/usr/lib/lichen/python PYTHONDONTWRITEBYTECODE=1"
# Amounts a processor that is emulated gets through: the product as it is for a GPU, 2 * 2048^3 operations, takes an
# emulated one more than a quarter of an hour.
ON_CPU = """
import json, torch
from gpu_selftest import compute
told = compute.measure()
compute.SIZE, compute.ROUNDS, compute.ROWS = 1 << 20, 2, 128
print(json.dumps([told, compute.copies(torch, "cpu"), compute.product(torch, "cpu")]))
"""


def has_gpu(host):
    """By other files than the program reads: class 3 is for screens and 3D controllers, 10DE is NVIDIA."""
    return host.run("grep -Pzq 'PCI_CLASS=3[0-9A-F]{4}\nPCI_ID=10DE:' /sys/bus/pci/devices/*/uevent").rc == 0


def test_machine_is_accepted_or_has_no_gpu(host, artifacts):
    done = host.run("gpu-selftest")
    (artifacts / "gpu-selftest.txt").write_text(done.stdout, encoding="utf-8")
    if has_gpu(host):
        assert done.rc == 0, done.stdout + done.stderr
        assert done.stdout.splitlines()[-1] == "passed"
        return
    told = "no GPU: none of NVIDIA's is on the PCI bus, nothing was tested\n"
    assert (done.rc, done.stdout, done.stderr) == (77, told, "")


def test_report_is_for_programs_too(host, artifacts):
    done = host.run("gpu-selftest --json")
    (artifacts / "gpu-selftest.json").write_text(done.stdout, encoding="utf-8")
    report = json.loads(done.stdout)
    if has_gpu(host):
        assert (done.rc, report["result"]) == (0, "passed")
        assert len(report["gpus"]) > 0
        return
    assert (done.rc, report) == (77, {"result": "skipped", "checks": [], "gpus": []})


def test_nobody_needs_to_be_root(host):
    assert host.run("runuser -u nobody -- gpu-selftest").rc == host.run("gpu-selftest").rc


def test_missing_cuda_is_told_and_computing_is_right_where_there_is_a_pytorch(host):
    """Arithmetic and copies run on the CPU here; where CUDA is missing, that is what is in the way."""
    if not host.run("ls -d /opt/ai/lib/python3*/site-packages/torch").succeeded:
        pytest.skip("no PyTorch in /opt/ai")
    told, copied, multiplied = json.loads(host.check_output(f"{PYTHON} /opt/ai/bin/python -c %s", ON_CPU))
    if not has_gpu(host):
        assert "has no GPU" in told["error"]
    assert copied["wrong_bytes"] == multiplied["wrong_numbers"] == 0
    assert min(copied["bytes_per_second"].values()) > 0
