"""The command gpu-selftest."""

import argparse
import json
import sys
from pathlib import Path

from .checks import FAILED, PASSED, SKIPPED, Report, examine
from .machine import compute
from .nvml import Nvml

# 77 is what test suites mean by "skipped" (Automake's manual, "Scripts-based Testsuites").
CODES = {PASSED: 0, FAILED: 1, SKIPPED: 77}


def text(report: Report) -> str:
    """The report for people."""
    if report.result == SKIPPED:
        return "no GPU: none of NVIDIA's is on the PCI bus, nothing was tested"
    gpus = [f"GPU {gpu['index']}: {gpu['name']}, {gpu['uuid']}, at {gpu['location']}" for gpu in report.gpus]
    checks = [f"{'passed' if check.passed else 'FAILED'} {check.name}: {check.detail}" for check in report.checks]
    return "\n".join([*gpus, *checks, report.result])


def main() -> None:
    """Check this machine; the exit code tells the result."""
    parser = argparse.ArgumentParser(
        prog="gpu-selftest",
        description="Whether the GPUs of this machine work. Exit code 0: passed, 1: failed, 77: there is no GPU.",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    as_json = parser.parse_args().json
    report = examine(Path("/"), Nvml.load, compute)
    print(json.dumps(report.as_json()) if as_json else text(report))
    sys.exit(CODES[report.result])


if __name__ == "__main__":
    main()
