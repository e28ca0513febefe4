"""Stopped or killed at several moments: nothing stays behind that the next build does not sweep, and it works."""

from __future__ import annotations

import re
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.cli.main import INTERRUPTED
from builder.foundation.errors import EXIT_INTERRUPTED
from builder.foundation.making import alone
from builder.foundation.place import Cache
from builder.verbs.build import build
from tests.build.bench import Bench, lend, processes_at, wait_until
from tests.build.conftest import Built, MakeBench

MKOSI_ENDS = " size is "
NOBODY = "small_amd64_000000000000"


def logged(pattern: str) -> Callable[[Bench], bool]:
    def reached(made: Bench) -> bool:
        return made.log.exists() and re.search(pattern, made.log.read_text(errors="replace")) is not None

    return reached


def laying_out_packages(made: Bench) -> bool:
    # With the log there, what a killed build left is swept.
    return made.log.exists() and any(made.cache.workspace.glob("run-*/initrd/mkosi.conf"))


def finishing(made: Bench) -> bool:
    return logged("Generating disk image")(made) and made.image.with_name(f".{made.image.name}.partial").exists()


# Components that are built meanwhile, and when the signal comes.
MOMENTS: dict[str, tuple[tuple[str, ...], Callable[[Bench], bool]]] = {
    "tools": (("mkosi", "tools"), logged("Unpacking")),
    "base and initrd": (("base", "initrd"), logged("Unpacking")),
    "laying out packages": (("initrd",), laying_out_packages),
    "image": ((), logged("Generating disk image")),
    "finish": ((), finishing),
}


def stop(made: Bench, number: signal.Signals, reached: Callable[[Bench], bool]) -> subprocess.CompletedProcess[str]:
    """Build in a process of its own, send it ``number`` when the moment has come."""
    made.log.unlink(missing_ok=True)  # that of a killed build
    process = made.start()
    wait_until(lambda: reached(made), process)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


# Each moment builds up to four times; what is swept is the same at all of them.
@pytest.mark.parametrize(
    "moment", [pytest.param(moment, marks=[] if moment == "image" else pytest.mark.long) for moment in MOMENTS]
)
def test_killed_and_interrupted(bench: MakeBench, built: Built, cache: Cache, tmp_path: Path, moment: str) -> None:
    own, reached = MOMENTS[moment]
    made = bench(*own)
    earlier = made.project.images / NOBODY / "image.raw"
    earlier.parent.mkdir(parents=True)
    earlier.write_text("whole")

    killed = stop(made, signal.SIGKILL, reached)
    assert killed.returncode == -signal.SIGKILL
    wait_until(lambda: not processes_at(tmp_path))
    assert made.leftovers() != []
    # They were ended, they did not go on to the end.
    assert (MKOSI_ENDS in made.log.read_text()) == (moment == "finish")

    for number in (signal.SIGINT, signal.SIGTERM):
        stopped = stop(made, number, reached)
        assert stopped.returncode == EXIT_INTERRUPTED, stopped.stderr
        assert stopped.stderr.splitlines()[-1] == INTERRUPTED
        assert "Traceback" not in stopped.stderr
        assert processes_at(tmp_path) == []
        assert made.leftovers() == []
        assert [path.name for path in made.project.images.iterdir()] == [NOBODY]
        assert not any(made.kept(name).exists() for name in own if name != "mkosi")

    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()
    if moment != "laying out packages":  # there the initrd is built to its end
        for name in own:
            lend(made.cache, cache, name)
    assert build(made.workbench, "small").rebuilt
    assert (made.image / "SHA256SUMS").read_text() == built.sums
    assert earlier.read_text() == "whole"
    assert made.leftovers() == []


def test_interrupted_while_another_process_builds_a_component(bench: MakeBench, tmp_path: Path) -> None:
    """The waiting thread is told to stop; it does not wait for the other one's end."""
    made = bench("initrd")
    path = made.kept("initrd")
    with alone(path):
        process = made.start()
        seen: list[str] = []
        waits = threading.Event()

        def read() -> None:
            assert process.stderr
            for line in process.stderr:
                seen.append(line)
                if "waiting for another process that builds initrd" in line:
                    waits.set()

        reader = threading.Thread(target=read)
        reader.start()
        wait_until(waits.is_set, process)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == EXIT_INTERRUPTED
        reader.join(60)
        assert seen[-1].strip() == INTERRUPTED
        assert path.with_name(f".{path.name}.lock").exists()
    assert made.leftovers() == []
    assert processes_at(tmp_path) == []
