"""The sensor in the running kernel: its object, and programs that do things to be seen."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from lichen_guard.event import Event
from lichen_guard.sensor import Sensor

from tests.conftest import REPOSITORY

SOURCE = REPOSITORY.overlays / "security-agent/bpf/lichen-guard.bpf.c"
BTF = Path("/sys/kernel/btf/vmlinux")
_TARGETS = {"x86_64": "x86", "aarch64": "arm64", "riscv64": "riscv"}


def why_not() -> str:
    """Why no BPF program can be loaded here at all; "" when it can."""
    if os.geteuid() != 0:
        return "loading BPF needs root"
    if not BTF.exists():
        return "the running kernel has no BTF (CONFIG_DEBUG_INFO_BTF)"
    return ""


def compiled(folder: Path) -> Path:
    """The object, made for the running kernel as the build makes it; LICHEN_GUARD_OBJECT names a finished one."""
    if given := os.environ.get("LICHEN_GUARD_OBJECT"):
        return Path(given)
    clang = next(filter(None, map(shutil.which, ("clang-19", "clang", "clang-16"))), None)
    bpftool = shutil.which("bpftool")
    if not clang or not bpftool or not Path("/usr/include/bpf/bpf_helpers.h").exists():
        pytest.skip("compiling BPF needs clang, bpftool and libbpf-dev; or name an object in LICHEN_GUARD_OBJECT")
    with (folder / "vmlinux.h").open("wb") as header:
        subprocess.run([bpftool, "btf", "dump", "file", BTF, "format", "c"], stdout=header, check=True)
    target = f"-D__TARGET_ARCH_{_TARGETS[os.uname().machine]}"
    options = ["-g", "-O2", "-Wall", "-Werror", "--target=bpf", "-mcpu=v3", target, f"-I{folder}", "-I/usr/include"]
    options += ["-fms-extensions", "-Wno-microsoft-anon-tag"]
    subprocess.run([clang, *options, "-c", SOURCE, "-o", folder / "lichen-guard.bpf.o"], check=True)
    return folder / "lichen-guard.bpf.o"


class Stage:
    """A sensor, and what programs do before its eyes. What this process itself does is not told."""

    def __init__(self, sensor: Sensor) -> None:
        self.sensor = sensor

    def needs(self, *hooks: str) -> None:
        """Skips the test when the kernel does not let these be attached."""
        for hook in hooks:
            if self.sensor.hooks[hook] != "attached":
                pytest.skip(f"{hook}: {self.sensor.hooks[hook]}")

    def run(self, *command: str | Path, check: bool = True, **options: object) -> list[Event]:
        """Runs a program; what it and its children did."""
        events: list[Event] = []
        process = subprocess.Popen(command, **options)  # type: ignore[call-overload]
        while process.poll() is None:
            self.sensor.poll(20, events.append)
        self.sensor.poll(100, events.append)
        assert not check or process.returncode == 0
        family = [e for e in events if process.pid in (e.process.pid, *(p.pid for p in e.process.ancestors()))]
        self.returned = process.returncode
        return family

    def python(self, code: str, *arguments: str | Path, check: bool = True) -> list[Event]:
        """Runs Python code with ``sys`` and ``os`` at hand; its arguments are in ``a``."""
        prepared = f"import os, sys; a = sys.argv[1:]\n{code}"
        return self.run(sys.executable, "-I", "-S", "-c", prepared, *arguments, check=check)


def only(events: list[Event], kind: str, fits: Callable[[Event], bool] = lambda _: True) -> list[Event]:
    """Events of a kind that fit."""
    return [event for event in events if event.kind == kind and fits(event)]
