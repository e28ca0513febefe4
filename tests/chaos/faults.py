"""What is done to a command: killed, starved of disk, given damaged files, lied to by its mirror."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from builder.foundation.store import Store
from builder.steps.components import RECORD
from tests.chaos.stage import LICHEN, Place, Stage, end_family
from tests.chaos.stages import BuildStage, FetchStage, LockStage, copy
from tests.chaos.watch import command_line, descendants
from tests.lock.archive import Package
from tests.store import mirror as faulty

PAGE = 4096
MISSED = "it had ended"


@dataclass
class Trouble:
    """Something that was set up against one run of a command.

    Attributes:
        what: for people.
        meanwhile: done once the command runs; tells what it did.
        kills: SIGKILL to the command itself; else it must end by itself, in order.
        must_succeed: there is a way round the trouble.
        bad_input: what the command is given may be told to be wrong.
        words: one of them must be in what a failing command says.
        damaged: files that are not what they were, by their names relative to the place's root.
        over: ends the trouble.
    """

    what: str
    meanwhile: Callable[[subprocess.Popen[bytes]], str] = lambda _process: ""
    kills: bool = False
    must_succeed: bool = False
    bad_input: bool = False
    words: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()
    over: Callable[[], None] = field(default=lambda: None)


Fault = Callable[[Stage, Place, random.Random], AbstractContextManager[Trouble]]


@contextlib.contextmanager
def kill(stage: Stage, place: Place, rng: random.Random) -> Iterator[Trouble]:
    """SIGKILL at a random moment: to the command, to it and all below it, or to something below it."""
    whom = rng.choice(["command", "family", "child"])
    after = rng.random() * 0.95 * stage.seconds

    def meanwhile(process: subprocess.Popen[bytes]) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(after)
        if whom == "child":
            return kill_child(process, rng)
        if process.poll() is not None:
            return MISSED
        if whom == "family":
            end_family(process.pid)
        else:
            process.kill()
        return f"killed after {after:.2f} s"

    yield Trouble(f"SIGKILL to the {whom} after {after:.2f} s", meanwhile, kills=whom != "child")


def kill_child(process: subprocess.Popen[bytes], rng: random.Random) -> str:
    """Kill a process below ``process``, the next one when there is none now.

    A shell may prepare a place and become the command then: what it starts is not the command's.
    """
    while process.poll() is None:
        ready = command_line(process.pid).startswith(LICHEN[0])
        if ready and (below := sorted(descendants(process.pid))):
            victim = rng.choice(below)
            name = command_line(victim)
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
                return f"killed {name[:60]!r}"
        time.sleep(0.002)
    return MISSED


@contextlib.contextmanager
def disks(place: Place, sizes: dict[Path, int]) -> Iterator[Callable[[], None]]:
    """Give folders of a place file systems of their own, of so many bytes; the result makes them roomy."""
    mounted: list[Path] = []
    try:
        for folder, size in sizes.items():
            aside = place.root / "aside"
            folder.rename(aside)
            folder.mkdir()
            mount = ["mount", "-t", "tmpfs", "-o", f"mode=0755,size={max(PAGE, size)}", "lichen-chaos", str(folder)]
            subprocess.run(mount, check=True)
            mounted.append(folder)
            # What is there already fits; the trouble begins with what is written now.
            _resize(folder, 0)
            copy(f"{aside}/.", folder)
            shutil.rmtree(aside)
            _resize(folder, _used(folder) + size)

        def roomy() -> None:
            for folder in mounted:
                _resize(folder, 0)

        yield roomy
    finally:
        for folder in mounted:
            # Lazily: a process that was left, which is told elsewhere, may still be in there.
            subprocess.run(["umount", "--lazy", folder], check=True)


def _used(folder: Path) -> int:
    room = os.statvfs(folder)
    return (room.f_blocks - room.f_bfree) * room.f_frsize


def _resize(folder: Path, size: int) -> None:
    """0: as large as need be."""
    option = f"remount,size={max(PAGE, size) if size else '4g'}"
    subprocess.run(["mount", "-o", option, str(folder)], check=True)


@contextlib.contextmanager
def full_disk(stage: Stage, place: Place, rng: random.Random) -> Iterator[Trouble]:
    """One of the folders written to has less room than the command needs; somebody frees it afterwards."""
    name, folder = rng.choice(sorted(stage.folders(place).items()))
    size = int(rng.random() * stage.peaks[name])
    with disks(place, {folder: size}) as roomy:
        words = ("disk is full", "no room", "No space left")
        yield Trouble(f"{size >> 10} of {stage.peaks[name] >> 10} KiB for {name}", words=words, over=roomy)


def flip(path: Path, rng: random.Random) -> str:
    """Turn one bit of a file round."""
    offset, bit = rng.randrange(path.stat().st_size), rng.randrange(8)
    with path.open("r+b") as stream:
        stream.seek(offset)
        (byte,) = stream.read(1)
        stream.seek(offset)
        stream.write(bytes([byte ^ 1 << bit]))
    return f"bit {bit} of byte {offset} of {path.name[:20]}"


def shorten(path: Path, rng: random.Random) -> str:
    """Cut a file off somewhere."""
    size = rng.randrange(path.stat().st_size)
    os.truncate(path, size)
    return f"{path.name[:20]} cut off after {size} bytes"


HARM = (flip, flip, shorten)


@contextlib.contextmanager
def damage(stage: Stage, place: Place, rng: random.Random) -> Iterator[Trouble]:
    """Something that the command reads is not what it was when it was written."""
    if isinstance(stage, LockStage):
        yield Trouble(f"older lock: {rng.choice(HARM)(place.lock, rng)}", damaged=("project/profiles/locks",))
    elif isinstance(stage, FetchStage):
        yield _damage_store(stage, place, rng)
    elif isinstance(stage, BuildStage):
        yield _damage_build(stage, place, rng)


def _damage_store(stage: FetchStage, place: Place, rng: random.Random) -> Trouble:
    # A command that only fetches works out no texts.
    derived = ["derived"] if any(stage.filled.glob("derived/*/*")) else []
    kind = rng.choice(["object", "object", "partial", "lock", *derived])
    if kind == "lock":
        before = place.lock.read_bytes()
        told = rng.choice(HARM)(place.lock, rng)
        name = str(place.lock.relative_to(place.root))
        return Trouble(f"lock: {told}", bad_input=True, damaged=(name,), over=lambda: _restore(place.lock, before))
    if kind == "partial":
        have = {path.name for path in place.cache.store.glob("sha256/*/*")}
        missing = sorted(path.name for path in stage.filled.glob("sha256/*/*") if path.name not in have)
        partial = place.cache.store / "partial" / rng.choice(missing)
        partial.parent.mkdir()
        partial.write_bytes(rng.randbytes(rng.randrange(1, 30_000)))
        return Trouble(f"partial download: {partial.stat().st_size} other bytes", must_succeed=True)
    shutil.rmtree(place.cache.store)
    shutil.copytree(stage.filled, place.cache.store)
    pattern = "sha256/*/*" if kind == "object" else "derived/*/*"
    path = rng.choice(sorted(place.cache.store.glob(pattern)))
    told = rng.choice(HARM)(path, rng)
    damaged = (str(path.relative_to(place.root)),)
    return Trouble(f"{kind}: {told}", damaged=damaged, must_succeed=True)


def _restore(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _damage_build(stage: BuildStage, place: Place, rng: random.Random) -> Trouble:
    bench = stage.bench(place)
    kind = rng.choice(["image", "component", "object"])
    if kind == "image":
        copy(stage.finished, bench.image)
        path = bench.image / rng.choice(["manifest.json", "SHA256SUMS"])
        told = rng.choice(HARM)(path, rng)
        return Trouble(f"image: {told}", damaged=(str(path.relative_to(place.root)),), must_succeed=True)
    (place.cache.components / "mkosi").unlink()
    if kind == "component":
        shutil.copytree(stage.machine.components / "mkosi" / bench.component("mkosi").key, bench.kept("mkosi"))
        told = rng.choice(HARM)(bench.kept("mkosi") / RECORD, rng)
        return Trouble(f"component: {told}", must_succeed=True)
    (deb,) = bench.lock.used_by("mkosi")
    place.cache.store.unlink()
    own, lent = Store(place.cache.store), Store(stage.machine.store)
    # Of packages that are in the initrd only, the image's bill of materials asks the store.
    for item in (deb, *(item for item in bench.lock.used_by("initrd") if "image" not in item.uses)):
        own.path(item.sha256).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(lent.path(item.sha256), own.path(item.sha256))
    path = own.path(deb.sha256)
    mirrored = place.root / "mirror" / deb.path
    mirrored.parent.mkdir(parents=True)
    shutil.copyfile(path, mirrored)
    return Trouble(f"object: {rng.choice(HARM)(path, rng)}", words=("the store was changed",))


def redirects(handler: faulty.Handler, _body: bytes) -> None:
    """To itself, for ever."""
    handler.send(302, b"", {"Location": handler.path})


def dribbles(handler: faulty.Handler, body: bytes) -> None:
    """A little at a time."""
    handler.send(200, b"", length=len(body))
    for start in range(0, len(body), 4096):
        handler.wfile.write(body[start : start + 4096])
        handler.wfile.flush()
        time.sleep(0.005)


LIES: dict[str, faulty.Fault] = {
    "wrong bytes": faulty.wrong_bytes,
    "cut off": faulty.truncated,
    "one byte short": faulty.shorter,
    "without end": faulty.endless,
    "reset": faulty.reset,
    "404": faulty.status(404),
    "500": faulty.status(500),
    "429": faulty.status(429),
    "redirected to itself": redirects,
    "dribbling": dribbles,
    "ignoring Range": faulty.ignores_range,
    "another range": faulty.other_range,
}


@contextlib.contextmanager
def lie(stage: Stage, place: Place, rng: random.Random) -> Iterator[Trouble]:
    """The mirror answers something else to some requests; sometimes an honest one is known too."""
    assert isinstance(stage, LockStage | FetchStage)
    served, mirror = stage.served, stage.served.world.mirror
    helped = rng.random() < 0.5
    kinds = rng.sample(sorted(LIES), rng.randint(1, 3))
    # An index of wheels has no second one to go to.
    paths = sorted(path for path in mirror.files if not helped or not path.startswith("/simple/"))
    chosen = rng.sample(paths, max(1, int(len(paths) * rng.choice([0.05, 0.3, 1.0]))))
    before = dict(mirror.files)
    stale = isinstance(stage, LockStage) and rng.random() < 0.3
    try:
        if stale:
            trixie = served.world.trixie
            trixie.packages.append(Package("brand-new"))
            trixie.publish_indices(mirror)
            trixie.packages.pop()
        mirror.faults = {path: [LIES[rng.choice(kinds)]] * 100 for path in chosen}
        served.mirrors = [mirror, served.honest] if helped else [mirror]
        what = f"{', '.join(kinds)} for {len(chosen)} files{', stale indices' if stale else ''}"

        def over() -> None:
            mirror.faults, mirror.files, served.mirrors = {}, before, [mirror]

        yield Trouble(f"{what}{', an honest one beside' if helped else ''}", must_succeed=helped, over=over)
    finally:
        mirror.faults, mirror.files, served.mirrors = {}, before, [mirror]
