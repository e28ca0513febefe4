"""Which programs of a build see a shifted clock, observed in all processes of a real one."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.data.lock import Lock
from builder.data.recipe import Recipe
from builder.data.rendered import RenderedFile, Tree
from builder.data.variation import Circumstances
from builder.steps.render import component_tree
from builder.verbs.build import build
from tests.build.bench import processes_at
from tests.build.conftest import Built, MakeBench

DAYS = 40
LIBRARY = "libfaketime"


class Watch:
    """Names of the programs under ``root`` that have the library that shifts the clock, and of those that do not."""

    def __init__(self, root: Path) -> None:
        self.root = "/".join(root.parts[-2:])  # a mount tells the path on its own file system
        self.shifted: set[str] = set()
        self.true: set[str] = set()
        self._done = threading.Event()

    def look(self) -> None:
        while not self._done.wait(0.01):
            for folder in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError, UnicodeDecodeError):
                    if self.root not in (folder / "mountinfo").read_text():
                        continue
                    name = (folder / "comm").read_text().strip()
                    (self.shifted if LIBRARY in (folder / "maps").read_text() else self.true).add(name)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        thread = threading.Thread(target=self.look)
        thread.start()
        try:
            yield
        finally:
            self._done.set()
            thread.join()


def test_reach(bench: MakeBench, built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = component_tree

    def telling(name: str, recipe: Recipe, lock: Lock) -> Tree:
        tree = real(name, recipe, lock)
        script = b'#!/bin/sh\necho "finalize: $(date +%s)" >&2\n'
        chroot = b'#!/bin/sh\necho "chroot: $(date +%s)" >&2\n'
        if name == "image":
            content = tree["image.finalize"].content
            tree["image.finalize"] = RenderedFile(script + content.partition(b"\n")[2], 0o755)
            tree["mkosi.postinst.chroot"] = RenderedFile(chroot, 0o755)
        return tree

    monkeypatch.setattr("builder.verbs.assembly.component_tree", telling)
    made = bench("initrd")
    watch = Watch(tmp_path)
    before = time.time()
    with watch.watching():
        image = build(made.workbench, "small", circumstances=Circumstances(clock=DAYS * 86400)).folder
    log = (image / "build.log").read_text(errors="replace")
    for place in ("finalize", "chroot"):
        (seconds,) = re.findall(rf"{place}: ([0-9]+)", log)
        assert 0 <= int(seconds) - before - DAYS * 86400 < 3600, place
    # python3 is ukify. What does not see it is told too: CLOCK_MISSES in builder/verbs/verify.py.
    assert {"apt-get", "dpkg", "finalize", "mkfs.ext4", "python3", "systemd-repart"} <= watch.shifted, watch.shifted
    assert "mcopy" in watch.true - watch.shifted
    assert LIBRARY not in log
    # It got into nothing.
    assert (image / "SHA256SUMS").read_text() == built.sums
    assert processes_at(tmp_path) == []
