"""Kept components: ``components/NAME/KEY/``, each complete or absent, shared by concurrent builds.

A folder holds the component's files and ``component.json`` (inputs, duration, size). Whoever comes first builds a key;
others wait and find it done.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.data.plan import Component
from builder.foundation.atomic import disk_error
from builder.foundation.digest import canonical_json
from builder.foundation.errors import InterruptError, Problem
from builder.foundation.making import alone, made_anew, sweep

RECORD = "component.json"
_BLOCK = 4096


@dataclass(frozen=True)
class ComponentCache:
    """The kept components of this machine."""

    root: Path

    def path(self, component: Component) -> Path:
        """Where the component's files are, or will be."""
        return self.root / component.name / component.key

    def has(self, component: Component) -> bool:
        """Whether the component is there, complete; with a damaged record it counts as absent and is built anew."""
        with contextlib.suppress(OSError, ValueError, KeyError):
            record: dict[str, Any] = json.loads((self.path(component) / RECORD).read_text())
            return record["inputs"] == component.inputs and isinstance(record["size"], int)
        return False

    def size(self, component: Component) -> int:
        """Bytes of a kept component's files, in whole blocks."""
        return int(json.loads((self.path(component) / RECORD).read_text())["size"])

    def newest_inputs(self, name: str, profile: str) -> dict[str, str] | None:
        """Inputs of the newest kept component ``name`` that ``profile`` used, or None."""
        newest: tuple[float, dict[str, str]] | None = None
        for record in (self.root / name).glob(f"*/{RECORD}"):
            with contextlib.suppress(OSError, ValueError, KeyError):
                content: dict[str, Any] = json.loads(record.read_text())
                made = record.stat().st_mtime
                if profile in content["profiles"] and (newest is None or made > newest[0]):
                    newest = (made, content["inputs"])
        return newest[1] if newest else None

    def provide(
        self,
        component: Component,
        profile: str,
        make: Callable[[Path], None],
        *,
        waiting: Callable[[], None] = lambda: None,
        stop: threading.Event | None = None,
    ) -> Path:
        """The component's folder; ``make`` fills it when it is not there yet.

        Args:
            make: called with an empty folder on the same disk; what it leaves there is kept.
            waiting: called once when another process is building the same component.
            stop: set by another thread when it is no longer wanted.

        Raises:
            LichenError: the disk is full, or whatever ``make`` raises. Nothing half-made is kept.
            InterruptError: ``stop`` was set before the making began.
        """
        path = self.path(component)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            sweep(path.parent)
            with alone(path, waiting=waiting, stop=stop):
                if stop and stop.is_set():
                    raise InterruptError(Problem("stopped before it was built", str(path)))
                if not self.has(component):
                    self._make(component, profile, make)
        except OSError as error:
            raise disk_error(error, path) from error
        return path

    def remember(self, component: Component, profile: str) -> None:
        """Note the inputs of something whose files are not kept here, so that later plans can tell what moved.

        Raises:
            LichenError: the disk is full.
        """
        os.utime(self.provide(component, profile, lambda folder: None) / RECORD)

    def _make(self, component: Component, profile: str, make: Callable[[Path], None]) -> None:
        begin = time.monotonic()
        with made_anew(self.path(component)) as folder:
            make(folder)
            record = {
                "inputs": component.inputs,
                "profiles": [profile],
                "seconds": round(time.monotonic() - begin, 1),
                "size": tree_size(folder),
            }
            (folder / RECORD).write_text(canonical_json(record))


def tree_size(root: Path) -> int:
    """Bytes that the files below ``root`` take in blocks of 4 KiB, links and folders a block each."""
    total = 0
    for folder, _, files in os.walk(root):
        total += _BLOCK
        for name in files:
            size = os.lstat(os.path.join(folder, name)).st_size
            total += max(1, -(-size // _BLOCK)) * _BLOCK
    return total
