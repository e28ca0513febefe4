"""Kept components: ``components/NAME/KEY/``, each complete or absent, shared by concurrent builds.

A folder holds the component's files and ``component.json`` (inputs, duration, size). Whoever builds a key first holds a
kernel lock on it; others wait and find it done.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.data.plan import Component
from builder.foundation.atomic import disk_error
from builder.foundation.digest import canonical_json

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
        """Whether the component is there, complete."""
        return (self.path(component) / RECORD).is_file()

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

    def provide(self, component: Component, profile: str, make: Callable[[Path], None]) -> Path:
        """The component's folder; ``make`` fills it when it is not there yet.

        Args:
            make: called with an empty folder on the same disk; what it leaves there is kept.

        Raises:
            LichenError: the disk is full, or whatever ``make`` raises. Nothing half-made is kept.
        """
        path = self.path(component)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with self._locked(path):
                if not self.has(component):
                    self._make(component, profile, make)
        except OSError as error:
            raise disk_error(error, path) from error
        return path

    def _make(self, component: Component, profile: str, make: Callable[[Path], None]) -> None:
        path = self.path(component)
        aside = path.with_name(f".{component.key}.partial")
        # We hold the lock of this key: what lies here was left by a build that was killed.
        for leftover in (aside, path):
            shutil.rmtree(leftover, ignore_errors=True)
        aside.mkdir()
        begin = time.monotonic()
        try:
            make(aside)
            record = {
                "inputs": component.inputs,
                "profiles": [profile],
                "seconds": round(time.monotonic() - begin, 1),
                "size": tree_size(aside),
            }
            (aside / RECORD).write_text(canonical_json(record))
            aside.rename(path)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise

    @contextlib.contextmanager
    def _locked(self, path: Path) -> Iterator[None]:
        with path.with_name(f".{path.name}.lock").open("ab") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield


def tree_size(root: Path) -> int:
    """Bytes that the files below ``root`` take in blocks of 4 KiB, links and folders a block each."""
    total = 0
    for folder, _, files in os.walk(root):
        total += _BLOCK
        for name in files:
            size = os.lstat(os.path.join(folder, name)).st_size
            total += max(1, -(-size // _BLOCK)) * _BLOCK
    return total
