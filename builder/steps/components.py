"""Kept components: ``components/NAME/KEY/``, each complete or absent, shared by concurrent builds.

A folder holds the component's files and ``component.json`` (inputs, duration, size). Whoever comes first builds a key;
others wait and find it done. The folder's own time of change is when it was last used. ``history.jsonl`` beside the
folders tells of earlier runs and stays when they are removed.
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

from builder.data.history import Past, Target, add_run, last_inputs, read_history
from builder.data.plan import Component
from builder.foundation.atomic import disk_error
from builder.foundation.digest import canonical_json
from builder.foundation.errors import InterruptError, LichenError, Problem
from builder.foundation.making import alone, made_anew, sweep

RECORD = "component.json"
HISTORY = "history.jsonl"
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

    def history(self, name: str) -> tuple[Past, ...]:
        """Earlier runs of the component ``name``, whatever its inputs were."""
        return read_history(self._history(name))

    def use(self, component: Component, target: Target) -> None:
        """Note that ``target`` uses a kept component, now. What cannot be written is left out."""
        with contextlib.suppress(OSError):
            os.utime(self.path(component))
        if last_inputs(self.history(component.name), target) != component.inputs:
            self.remember(component, target)

    def remember(self, component: Component, target: Target, seconds: float | None = None) -> None:
        """Add a run to the component's history; ``seconds`` is None when it was found kept.

        What cannot be written is left out: only later plans would tell less.
        """
        with contextlib.suppress(LichenError):
            add_run(self._history(component.name), target, component.inputs, seconds)

    def provide(
        self,
        component: Component,
        target: Target,
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
                if self.has(component):
                    self.use(component, target)
                else:
                    self._make(component, target, make)
        except OSError as error:
            raise disk_error(error, path) from error
        return path

    def _make(self, component: Component, target: Target, make: Callable[[Path], None]) -> None:
        begin = time.monotonic()
        with made_anew(self.path(component)) as folder:
            make(folder)
            seconds = round(time.monotonic() - begin, 1)
            record = {"inputs": component.inputs, "seconds": seconds, "size": tree_size(folder)}
            (folder / RECORD).write_text(canonical_json(record))
        self.remember(component, target, seconds)

    def _history(self, name: str) -> Path:
        return self.root / name / HISTORY


def tree_size(root: Path) -> int:
    """Bytes that the files below ``root`` take in blocks of 4 KiB, links and folders a block each."""
    total = 0
    for folder, _, files in os.walk(root):
        total += _BLOCK
        for name in files:
            size = os.lstat(os.path.join(folder, name)).st_size
            total += max(1, -(-size // _BLOCK)) * _BLOCK
    return total
