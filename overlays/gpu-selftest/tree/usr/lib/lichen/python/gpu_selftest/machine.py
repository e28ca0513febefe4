"""What the kernel tells about GPUs and their driver, and where they are made to compute."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

NVIDIA = "0x10de"
# PCI class 3, display controllers: GPUs without a connector are 3D controllers of it. Other functions of a card, such
# as sound, are of other classes.
DISPLAY = "0x03"
AI = "/opt/ai/bin/python"
# Seconds; importing PyTorch takes some, all the rest of a healthy GPU's work one or two.
PATIENCE = 600


def gpus_on_bus(root: Path) -> tuple[str, ...]:
    """Places of NVIDIA's GPUs on the PCI bus, whoever drives them."""
    return tuple(
        device.name
        for device in sorted((root / "sys/bus/pci/devices").glob("*"))
        if (device / "vendor").read_text().strip() == NVIDIA and (device / "class").read_text().startswith(DISPLAY)
    )


def module_version(root: Path) -> str | None:
    """Version of the kernel module; None when it is not loaded, or tells none."""
    # "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.163.01  Release Build  (…)"
    try:
        text = (root / "proc/driver/nvidia/version").read_text(errors="replace")
    except FileNotFoundError:
        return None
    found = re.search(r"^NVRM version:.*?\s([0-9]+\.[0-9]+(?:\.[0-9]+)?)\s", text)
    return found[1] if found else None


def compute(uuid: str, python: str = AI, patience: float = PATIENCE) -> dict[str, Any]:
    """What :mod:`.compute` prints about one GPU; it computes in a process of its own, which may crash or hang."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": uuid}
    words = [python, "-m", "gpu_selftest.compute"]
    try:
        done = subprocess.run(words, capture_output=True, timeout=patience, env=environment, check=False)
    except FileNotFoundError:
        return {"error": f"there is no {python}, so no PyTorch to compute with"}
    except subprocess.TimeoutExpired:
        return {"error": f"nothing was computed within {patience} seconds"}
    lines = done.stdout.decode(errors="replace").splitlines()
    try:
        told: dict[str, Any] = json.loads(lines[-1])
    except (IndexError, ValueError):
        last = done.stderr.decode(errors="replace").splitlines()[-1:]
        return {"error": f"computing ended with code {done.returncode}: {''.join(last)}"}
    return told
