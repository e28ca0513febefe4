"""A build has the machine to share with whatever else is built there."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path

from tests.build.conftest import MakeBench

# Where mkosi keeps downloads unless told otherwise, and what it locks whenever it installs a package.
MACHINES = Path("/var/cache/mkosi/debian~trixie~x86-64")


def test_does_not_wait_while_another_mkosi_installs_packages(bench: MakeBench) -> None:
    made = bench("initrd")
    MACHINES.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(MACHINES, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        process = made.start()
        try:
            told = process.communicate(timeout=1800)
        except subprocess.TimeoutExpired:
            process.terminate()
            process.communicate()
            raise
    finally:
        os.close(descriptor)
    assert process.returncode == 0, told
