"""The acceptance of a machine with GPUs: on this one, which has none, and on machines that are made up.

NVML is an object here: once what the checks ask for, once the C library itself as ctypes would call it.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fake_machine
import pytest
from gpu_selftest.checks import Report, examine
from gpu_selftest.command import text
from gpu_selftest.machine import compute, gpus_on_bus, module_version
from gpu_selftest.nvml import Device, Errors, Nvml, NvmlError

from tests.conftest import REPOSITORY

PYTHON = REPOSITORY.overlays / "gpu-selftest/tree/usr/lib/lichen/python"
VERSION = fake_machine.VERSION
PLACES = ("0000:07:00.0", "0000:0f:00.0")
GOOD = {
    "pytorch": "2.7.1",
    "cuda": "12.6",
    "bytes_per_second": {"host_to_device": 25e9, "device_to_device": 600e9, "device_to_host": 24e9},
    "wrong_bytes": 0,
    "wrong_numbers": 0,
    "numbers": 4194304,
}


def put_on_bus(root: Path, location: str, vendor: str = "0x10de", kind: str = "0x030200") -> None:
    folder = root / "sys/bus/pci/devices" / location
    folder.mkdir(parents=True)
    (folder / "vendor").write_text(f"{vendor}\n")
    (folder / "class").write_text(f"{kind}\n")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two GPUs and the loaded module of their driver; beside them a GPU's sound, and somebody else's screen."""
    for place in PLACES:
        put_on_bus(tmp_path, place)
    put_on_bus(tmp_path, "0000:07:00.1", kind="0x040300")
    put_on_bus(tmp_path, "0000:03:00.0", vendor="0x1a03", kind="0x030000")
    fake_machine.drive(tmp_path, {place: fake_machine.information(place, 0) for place in PLACES})
    return tmp_path


@dataclass
class Management:
    """Answers as NVML would on a machine with two GPUs; ``lost`` do not answer."""

    version: str = VERSION
    gpus: int = 2
    errors: dict[int, Errors | None] = field(default_factory=dict)
    lost: frozenset[int] = frozenset()
    refusal: str | None = None

    def __enter__(self) -> Management:
        if self.refusal:
            raise NvmlError(self.refusal, 18)
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def driver_version(self) -> str:
        return self.version

    def count(self) -> int:
        return self.gpus

    def device(self, index: int) -> Device:
        if index in self.lost:
            raise NvmlError("nvmlDeviceGetHandleByIndex_v2: GPU is lost", 15)
        return Device(index, "NVIDIA A100-SXM4-40GB", fake_machine.uuid(index), PLACES[index], 40 << 30)

    def uncorrected(self, index: int) -> Errors | None:
        return self.errors.get(index, Errors(0, 0))


def check(
    root: Path, management: Management | None = None, found: Callable[[str], dict[str, Any]] | None = None
) -> Report:
    return examine(root, lambda: management or Management(), found or (lambda uuid: GOOD))


def failures(report: Report) -> dict[str, str]:
    return {one.name: one.detail for one in report.checks if not one.passed}


def test_good_machine_passes_with_all_its_numbers(root: Path) -> None:
    report = check(root)
    assert report.result == "passed"
    told = json.loads(json.dumps(report.as_json()))
    assert [gpu["uuid"] for gpu in told["gpus"]] == [fake_machine.uuid(0), fake_machine.uuid(1)]
    assert told["gpus"][0]["bytes_per_second"] == GOOD["bytes_per_second"]
    assert told["gpus"][0]["uncorrected_errors"] == {"since_load": 0, "in_all": 0}
    lines = text(report).splitlines()
    assert lines[0] == f"GPU 0: NVIDIA A100-SXM4-40GB, {fake_machine.uuid(0)}, at {PLACES[0]}"
    assert f"passed driver: module {VERSION}, user space {VERSION}" in lines
    assert "passed GPU 1 copies: GB/s: host to device 25.0, device to device 600.0, device to host 24.0" in lines
    assert lines[-1] == "passed"


def test_machine_without_gpu_is_skipped(tmp_path: Path) -> None:
    put_on_bus(tmp_path, "0000:03:00.0", vendor="0x1234", kind="0x030000")
    put_on_bus(tmp_path, "0000:07:00.1", kind="0x040300")

    def never(*_: object) -> Any:
        raise AssertionError("nothing may be asked of a driver that need not be there")

    report = examine(tmp_path, never, never)
    assert (report.result, report.checks, report.gpus) == ("skipped", [], [])
    assert text(report) == "no GPU: none of NVIDIA's is on the PCI bus, nothing was tested"


def test_driver_that_is_not_loaded_fails(root: Path) -> None:
    (root / "proc/driver/nvidia/version").unlink()
    assert failures(check(root)) == {"driver": "its module is not loaded, or tells no version"}


def test_missing_nvml_fails(root: Path) -> None:
    report = examine(root, lambda: Nvml(ctypes.CDLL("libnvidia-none.so.1")), lambda uuid: GOOD)
    assert report.result == "failed"
    assert "no user space: libnvidia-none.so.1: cannot open" in failures(report)["driver"]


def test_other_version_fails_whether_nvml_says_so_or_not(root: Path) -> None:
    report = check(root, Management(version="535.216.01"))
    assert failures(report) == {"driver": f"module {VERSION}, user space 535.216.01"}
    refused = check(root, Management(refusal="nvmlInit_v2: Driver/library version mismatch"))
    assert failures(refused) == {"driver": f"module {VERSION}, nvmlInit_v2: Driver/library version mismatch"}


def test_gpu_that_the_driver_does_not_have_fails(root: Path) -> None:
    report = check(root, Management(gpus=1))
    assert failures(report) == {"GPUs": f"the driver has 1 of 2 on the PCI bus ({', '.join(PLACES)})"}


def test_lost_gpu_fails_and_the_other_is_tested(root: Path) -> None:
    report = check(root, Management(lost=frozenset({0})))
    assert failures(report) == {"GPU 0": "nvmlDeviceGetHandleByIndex_v2: GPU is lost"}
    assert [gpu["index"] for gpu in report.gpus] == [1]


@pytest.mark.parametrize(
    ("found", "failed"),
    [
        ({**GOOD, "wrong_bytes": 3}, {"GPU 1 copies": "3 bytes came back changed"}),
        ({**GOOD, "wrong_numbers": 1}, {"GPU 1 product": "1 of 4194304 numbers are wrong (PyTorch 2.7.1)"}),
        ({"error": "CUDA error: out of memory"}, {"GPU 1 computing": "CUDA error: out of memory"}),
    ],
)
def test_wrong_result_fails(root: Path, found: dict[str, Any], failed: dict[str, str]) -> None:
    report = check(root, found=lambda uuid: found if uuid == fake_machine.uuid(1) else GOOD)
    assert report.result == "failed"
    assert failures(report) == failed
    assert "FAILED GPU 1" in text(report)
    assert text(report).splitlines()[-1] == "failed"


@pytest.mark.parametrize(
    ("errors", "passed"), [(Errors(0, 0), True), (Errors(1, 1), False), (Errors(0, 57), True), (None, True)]
)
def test_uncorrected_errors_since_the_driver_was_loaded_fail(root: Path, errors: Errors | None, passed: bool) -> None:
    report = check(root, Management(errors={1: errors}))
    assert (report.result == "passed") == passed
    assert ("GPU 1 memory" in failures(report)) != passed
    assert (errors is None) == (report.gpus[1]["uncorrected_errors"] is None)


def test_errors_that_computing_made_count(root: Path) -> None:
    management = Management()

    def broken(uuid: str) -> dict[str, Any]:
        management.errors[0] = Errors(2, 2)
        return GOOD

    assert "GPU 0 memory" in failures(check(root, management, broken))


@pytest.mark.parametrize("written", ["", "NVRM version: none\n"])
def test_version_that_is_none_counts_as_no_driver(root: Path, written: str) -> None:
    (root / "proc/driver/nvidia/version").write_text(written)
    assert module_version(root) is None


TEXTS = {3: b"Not Supported", 15: b"GPU is lost", 18: b"Driver/library version mismatch"}


class Library:
    """libnvidia-ml.so.1 as ctypes calls it: numbers and texts go where pointers lead."""

    def __init__(self, **codes: int) -> None:
        self.codes = codes
        self.running = False

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("nvml"):
            raise AttributeError(name)

        def function(*arguments: Any) -> Any:
            return self.codes.get(name) or getattr(self, f"do_{name}", lambda *_: 0)(*arguments)

        # ctypes' functions take the type of their result as an attribute; so does this one, kept for the next call.
        self.__dict__[name] = function
        return function

    def do_nvmlErrorString(self, code: int) -> bytes:  # noqa: N802
        return TEXTS[code]

    def do_nvmlInit_v2(self) -> int:  # noqa: N802
        self.running = True
        return 0

    def do_nvmlShutdown(self) -> int:  # noqa: N802
        self.running = False
        return 0

    def do_nvmlSystemGetDriverVersion(self, buffer: Any, length: int) -> int:  # noqa: N802
        buffer.value = VERSION.encode()
        return 0 if length >= 80 else 7

    def do_nvmlDeviceGetCount_v2(self, count: Any) -> int:  # noqa: N802
        count._obj.value = 2
        return 0

    def do_nvmlDeviceGetHandleByIndex_v2(self, index: int, handle: Any) -> int:  # noqa: N802
        handle._obj.value = 0xFFFF_8888_0000_1000 + index
        return 0

    def do_nvmlDeviceGetName(self, handle: ctypes.c_void_p, buffer: Any, length: int) -> int:  # noqa: N802
        buffer.value = b"NVIDIA A100-SXM4-40GB"
        return 0

    def do_nvmlDeviceGetUUID(self, handle: ctypes.c_void_p, buffer: Any, length: int) -> int:  # noqa: N802
        buffer.value = fake_machine.uuid(handle.value - 0xFFFF_8888_0000_1000).encode()  # type: ignore[operator]
        return 0

    def do_nvmlDeviceGetMemoryInfo(self, handle: ctypes.c_void_p, memory: Any) -> int:  # noqa: N802
        memory._obj.total = 40 << 30
        return 0

    def do_nvmlDeviceGetPciInfo_v3(self, handle: ctypes.c_void_p, place: Any) -> int:  # noqa: N802
        # 16 + 5 * 4 + 32 bytes, as in nvml.h.
        assert ctypes.sizeof(place._obj) == 68
        ctypes.memmove(ctypes.addressof(place._obj) + 36, b"00000000:0F:00.0\0", 17)
        return 0

    def do_nvmlDeviceGetTotalEccErrors(self, handle: Any, kind: int, counter: int, number: Any) -> int:  # noqa: N802
        assert kind == 1
        number._obj.value = {0: 4, 1: (1 << 40) + 4}[counter]
        return 0


def test_library_is_called_by_its_header() -> None:
    library = Library()
    with Nvml(library) as nvml:
        assert library.running
        assert (nvml.driver_version(), nvml.count()) == (VERSION, 2)
        place, memory = "00000000:0F:00.0", 40 << 30
        assert nvml.device(1) == Device(1, "NVIDIA A100-SXM4-40GB", fake_machine.uuid(1), place, memory)
        assert nvml.uncorrected(1) == Errors(4, (1 << 40) + 4)
    assert not library.running
    assert library.nvmlErrorString.restype is ctypes.c_char_p


def test_errors_of_the_library_have_its_words() -> None:
    with pytest.raises(NvmlError, match="nvmlInit_v2: Driver/library version mismatch"):
        Nvml(Library(nvmlInit_v2=18)).__enter__()
    with Nvml(Library(nvmlDeviceGetHandleByIndex_v2=15)) as nvml, pytest.raises(NvmlError, match="GPU is lost"):
        nvml.device(0)


def test_gpu_that_counts_no_errors_has_none_and_a_lost_one_is_lost() -> None:
    with Nvml(Library(nvmlDeviceGetTotalEccErrors=3)) as nvml:
        assert nvml.uncorrected(0) is None
    with Nvml(Library(nvmlDeviceGetTotalEccErrors=15)) as nvml, pytest.raises(NvmlError, match="GPU is lost"):
        nvml.uncorrected(0)


def script(folder: Path, lines: str) -> str:
    """Something in place of PyTorch's Python."""
    (path := folder / "python").write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)
    return str(path)


def test_computing_gets_one_gpu_and_its_last_line_counts(tmp_path: Path) -> None:
    told = script(
        tmp_path, """echo warning; echo "{\\"gpu\\": \\"$CUDA_VISIBLE_DEVICES\\", \\"module\\": \\"$2\\"}" """
    )
    assert compute("GPU-1", told) == {"gpu": "GPU-1", "module": "gpu_selftest.compute"}


def test_computing_that_crashes_says_how(tmp_path: Path) -> None:
    told = compute("GPU-1", script(tmp_path, "echo first >&2; echo the last word >&2; kill -SEGV $$"))
    assert told == {"error": "computing ended with code -11: the last word"}
    assert compute("GPU-1", script(tmp_path, "echo no json")) == {"error": "computing ended with code 0: "}


def test_computing_that_hangs_is_ended(tmp_path: Path) -> None:
    told = compute("GPU-1", script(tmp_path, "exec sleep 300"), patience=1)
    assert told == {"error": "nothing was computed within 1 seconds"}


def test_image_without_python_environment_says_so() -> None:
    assert compute("GPU-1", "/nonexistent/python") == {
        "error": "there is no /nonexistent/python, so no PyTorch to compute with"
    }


def ours(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(PYTHON)}
    return subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, check=False, env=environment)


def test_missing_pytorch_is_told() -> None:
    """Python's own environment for tests has none; where it has, there is no CUDA or a GPU that works."""
    told = json.loads(ours("gpu_selftest.compute").stdout)
    try:
        import torch  # type: ignore[import-not-found]  # noqa: F401
    except ImportError:
        assert told == {"error": "PyTorch cannot be imported: No module named 'torch'"}
    else:
        assert told.get("wrong_numbers") == 0 or "has no GPU" in told["error"]


@pytest.mark.skipif(bool(gpus_on_bus(Path("/"))), reason="this machine has a GPU of NVIDIA")
def test_this_machine_has_no_gpu() -> None:
    done = ours("gpu_selftest.command")
    assert done.returncode == 77
    assert done.stdout == "no GPU: none of NVIDIA's is on the PCI bus, nothing was tested\n"
    done = ours("gpu_selftest.command", "--json")
    assert (done.returncode, json.loads(done.stdout)) == (77, {"result": "skipped", "checks": [], "gpus": []})
