"""Does something harmless that a rule must see, and asks the agent when it saw it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from lichen_agent.clock import boot_time
from lichen_agent.control import ask

from .settings import CONTROL

PAUSE = 0.05  # seconds between two questions


class SelfTestError(Exception):
    """The test could not be made; the message says why."""


def run_self_test(
    timeout: float,
    control: Path = CONTROL,
    question: Callable[[Path, Mapping[str, object]], Mapping[str, object]] = ask,
) -> float | None:
    """Make a file that the rule of ``self-test.yaml`` is about, and remove it.

    Returns:
        Seconds from before its making until the agent had told the alert; None when none came in time.

    Raises:
        ControlError: the agent does not answer.
        SelfTestError: the file cannot be made.
    """
    question(control, {"command": "status"})
    path = control.with_name(f"self-test-{secrets.token_hex(8)}")
    before = boot_time()
    try:
        path.write_bytes(b"")
        path.unlink()
    except OSError as error:
        raise SelfTestError(f"{path} cannot be made, so nothing was tested: {error.strerror}") from error
    deadline = time.monotonic() + timeout
    while True:
        seen = question(control, {"command": "test", "path": str(path)})["seen"]
        if seen is not None:
            return (int(seen) - before) / 1e9
        if time.monotonic() > deadline:
            return None
        time.sleep(PAUSE)
