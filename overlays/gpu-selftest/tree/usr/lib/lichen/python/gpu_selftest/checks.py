"""The acceptance itself: what is asked, and what of the answers is good."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from .machine import gpus_on_bus, module_version
from .nvml import Device, Errors, NvmlError

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


class Management(Protocol):
    """What is asked of :class:`.nvml.Nvml`, and told there."""

    def driver_version(self) -> str: ...  # noqa: D102
    def count(self) -> int: ...  # noqa: D102
    def device(self, index: int) -> Device: ...  # noqa: D102
    def uncorrected(self, index: int) -> Errors | None: ...  # noqa: D102


@dataclass(frozen=True)
class Check:
    """One question, and the answer for people."""

    name: str
    passed: bool
    detail: str


@dataclass
class Report:
    """All checks that were made, and what was learned about each GPU on the way."""

    checks: list[Check] = field(default_factory=list)
    gpus: list[dict[str, Any]] = field(default_factory=list)

    @property
    def result(self) -> str:
        """``skipped`` when there was nothing to check."""
        if not self.checks:
            return SKIPPED
        return PASSED if all(check.passed for check in self.checks) else FAILED

    def add(self, name: str, passed: bool, detail: str) -> bool:
        """Note a check; returned is whether it passed."""
        self.checks.append(Check(name, passed, detail))
        return passed

    def as_json(self) -> dict[str, Any]:
        """For :mod:`json`."""
        return {"result": self.result, **asdict(self)}


def examine(
    root: Path,
    load: Callable[[], AbstractContextManager[Management]],
    compute: Callable[[str], dict[str, Any]],
) -> Report:
    """Check the machine whose root folder this is.

    Args:
        load: opens NVML; raises OSError when there is none, on entering NvmlError when it does not fit.
        compute: makes the GPU with this UUID compute, see :func:`.machine.compute`.
    """
    report = Report()
    if not (places := gpus_on_bus(root)):
        return report
    version = module_version(root)
    if version is None:
        report.add("driver", False, "its module is not loaded, or tells no version")
        return report
    try:
        opened = load()
    except OSError as error:
        report.add("driver", False, f"module {version}, no user space: {error}")
        return report
    try:
        with opened as nvml:
            user_space = nvml.driver_version()
            report.add("driver", user_space == version, f"module {version}, user space {user_space}")
            count = nvml.count()
            told = f"the driver has {count} of {len(places)} on the PCI bus ({', '.join(places)})"
            report.add("GPUs", count == len(places), told)
            for index in range(count):
                _examine_gpu(report, nvml, index, compute)
    except NvmlError as error:
        report.add("driver", False, f"module {version}, {error.args[0]}")
    return report


def _examine_gpu(report: Report, nvml: Management, index: int, compute: Callable[[str], dict[str, Any]]) -> None:
    try:
        device = nvml.device(index)
        found = compute(device.uuid)
        # Only now: errors that come of computing count too.
        errors = nvml.uncorrected(index)
    except NvmlError as error:
        report.add(f"GPU {index}", False, error.args[0])
        return
    report.gpus.append({**asdict(device), **found, "uncorrected_errors": errors and asdict(errors)})
    for name, passed, detail in (*_computed(found), _memory(errors)):
        report.add(f"GPU {index} {name}", passed, detail)


def _computed(found: dict[str, Any]) -> Iterator[tuple[str, bool, str]]:
    if "error" in found:
        yield "computing", False, found["error"]
        return
    speeds = ", ".join(
        f"{name.replace('_', ' ')} {speed / 1e9:.1f}" for name, speed in found["bytes_per_second"].items()
    )
    wrong = found["wrong_bytes"]
    yield "copies", wrong == 0, f"{wrong} bytes came back changed" if wrong else f"GB/s: {speeds}"
    wrong, numbers = found["wrong_numbers"], found["numbers"]
    yield "product", wrong == 0, f"{wrong} of {numbers} numbers are wrong (PyTorch {found['pytorch']})"


def _memory(errors: Errors | None) -> tuple[str, bool, str]:
    if errors is None:
        return "memory", True, "this GPU does not count errors"
    told = f"uncorrected errors: {errors.since_load} since the driver was loaded, {errors.in_all} in the card's life"
    return "memory", errors.since_load == 0, told
