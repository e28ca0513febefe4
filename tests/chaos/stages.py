"""``lichen lock`` and ``lichen fetch`` against a mirror of our own, ``lichen build`` of the small image."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote

from builder.foundation.digest import digest_bytes, digest_file
from builder.foundation.place import Cache, Project
from builder.foundation.store import Store
from builder.steps import apt
from tests.build.bench import Bench, make_bench
from tests.chaos.stage import REPOSITORY, Place, Stage, below
from tests.chaos.watch import content, untouched
from tests.lock.archive import Key
from tests.lock.world import World
from tests.profiles.sample import Sample
from tests.store.mirror import Handler, Mirror

# The real command trusts Debian's key; where it runs, that of our archive stands in its place. And what any program
# leaves in the common temporary folder is seen.
_TRUSTING = 'set -e; mount --bind "$1" "$2"; mount --bind "$3" "$4"; shift 4; exec "$@"'
_COMMON = Path("/tmp")
_EARLIER = "small_amd64_000000000000"  # an image of another lock


def unhurried(handler: Handler, body: bytes) -> None:
    """Answers as it should, and takes its time in the middle of each file."""
    if unquote(handler.path) not in handler.mirror.files:
        handler.send(404, b"not here")
        return
    start = min(int(handler.headers.get("Range", "bytes=0-")[6:-1]), len(body))
    headers = {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"} if start else {}
    middle = (start + len(body)) // 2
    handler.send(206 if start else 200, body[start:middle], headers, length=len(body) - start)
    handler.wfile.flush()
    time.sleep(0.05)
    handler.wfile.write(body[middle:])


def copy(source: Path | str, destination: Path) -> None:
    """A real copy of a folder, holes and times too."""
    subprocess.run(["cp", "--archive", "--sparse=always", source, destination], check=True)


@dataclass
class Served:
    """A project and its archive, on a mirror that may lie and on an honest one.

    Attributes:
        mirrors: those that commands are told to use now.
    """

    world: World
    honest: Mirror
    mirrors: list[Mirror] = field(default_factory=list)

    @classmethod
    def make(cls, root: Path, key: Key, mirror: Mirror, honest: Mirror) -> Served:
        world = World(Sample(root / "sample"), root / "scratch", mirror, key)
        # Its options are not those of the world's overlay.
        shutil.rmtree(world.sample.root / "overlays/web/tree")
        world.publish()
        honest.files, honest.kinds = dict(mirror.files), dict(mirror.kinds)
        return cls(world, honest, [mirror])

    def options(self) -> list[str]:
        mirrors = [word for text in self.world.at(*self.mirrors) for word in ("--mirror", text)]
        return [*mirrors, "--index", self.world.index.url]

    def copy_project(self, place: Place) -> None:
        for name in ("profiles", "overlays"):
            shutil.copytree(self.world.sample.root / name, place.project.root / name)
        for folder in (place.project.locks, place.cache.root, place.temporary, place.tree.parent):
            folder.mkdir(parents=True, exist_ok=True)


@dataclass
class LockStage(Stage):
    """Choosing versions anew where an older lock is there."""

    name: ClassVar[str] = "lock"
    served: Served = field(kw_only=True)
    old: str = ""

    def prepare(self, root: Path) -> None:
        """Make the older lock."""
        place = self.place(root)
        profile = place.project.profiles / "small.yaml"
        profile.write_text(profile.read_text().replace("[less, nano]", "[less]"))
        ended = self.run(place)
        if ended.code != 0:
            raise RuntimeError(f"the older lock cannot be made: {ended.said}")
        self.old = place.lock.read_text()

    def place(self, root: Path) -> Place:
        place = Place(root)
        self.served.copy_project(place)
        if self.old:
            place.lock.write_text(self.old)
        return place

    def options(self, place: Place) -> list[str]:
        return self.served.options()

    def command(self, place: Place) -> list[str]:
        keyring = next(path for path in apt.KEYRINGS if path.is_file())
        enter = ["unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", _TRUSTING, "lichen"]
        # Not over a checkout that lies there, nor its Python.
        seen = not any(Path(path).is_relative_to(_COMMON) for path in (REPOSITORY, sys.prefix, sys.base_prefix))
        words = [str(self.served.world.key.keyring), str(keyring)]
        words += [str(place.temporary), str(_COMMON if seen else place.temporary)]
        return [*enter, *words, *super().command(place)]

    def folders(self, place: Place) -> dict[str, Path]:
        return {"cache": place.cache.root, "locks": place.project.locks}

    def earlier(self, place: Place) -> Mapping[str, str]:
        return {
            f"project/{name}": told for name, told in untouched(place.project.root).items() if "/locks/" not in name
        }

    def result(self, place: Place) -> Mapping[str, str]:
        return {"lock": place.lock.read_text()}

    def halves(self, place: Place) -> list[str]:
        text = place.lock.read_text() if place.lock.exists() else "gone"
        return [] if text in (self.old, self.reference["lock"]) else [f"the lock: {text[:200]}"]

    def leftovers(self, place: Place) -> list[str]:
        lists = below(place, place.cache.apt, place.cache.root / "wheels", place.temporary, place.project.locks)
        return [name for name in lists if name != str(place.lock.relative_to(place.root))]


@dataclass
class FetchStage(Stage):
    """Fetching what a lock names into a store that has half of it."""

    name: ClassVar[str] = "fetch"
    served: Served = field(kw_only=True)
    lock: str = ""
    filled: Path = field(default_factory=Path)

    def place(self, root: Path) -> Place:
        place = Place(root)
        self.served.copy_project(place)
        place.lock.write_text(self.lock)
        objects = sorted(self.filled.glob("sha256/*/*")) if self.reference else []
        for path in objects[::2]:
            self.copy_object(path.name, place)
        return place

    def copy_object(self, sha256: str, place: Place) -> Path:
        """A real copy of an object in the place's store; never a link: it may get damaged."""
        path = Store(place.cache.store).path(sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(Store(self.filled).path(sha256), path)
        path.chmod(0o444)
        return path

    def keep(self, place: Place) -> None:
        """Keep the filled store of ``place`` as what others are copied from."""
        shutil.copytree(place.cache.store, self.filled)

    def options(self, place: Place) -> list[str]:
        return self.served.options()

    def folders(self, place: Place) -> dict[str, Path]:
        return {"cache": place.cache.root, "tree": place.tree.parent}

    def earlier(self, place: Place) -> Mapping[str, str]:
        project = {f"project/{name}": told for name, told in untouched(place.project.root).items()}
        objects = untouched(place.cache.store / "sha256")
        return {**project, **{f"cache/store/sha256/{name}": told for name, told in objects.items()}}

    def result(self, place: Place) -> Mapping[str, str]:
        return {**content(place.cache.store / "sha256"), **content(place.tree)}

    def halves(self, place: Place) -> list[str]:
        wrong = [str(path) for path in place.cache.store.glob("sha256/*/*") if digest_file(path) != path.name]
        tree = content(place.tree)
        if tree and any(self.reference.get(name) != told for name, told in tree.items()):
            wrong.append(str(place.tree))
        return wrong

    def leftovers(self, place: Place) -> list[str]:
        store = place.cache.store
        found = below(place, store / "partial", place.temporary, place.tree.parent)
        found += [str(path) for path in store.rglob(".*")]
        return [name for name in found if name != "out/tree"]

    def resumable(self, place: Place) -> list[str]:
        return below(place, place.cache.store / "partial")


@dataclass
class BuildStage(Stage):
    """Building the small image; its parts are lent by this machine's cache."""

    name: ClassVar[str] = "build"
    project: Project = field(kw_only=True)
    machine: Cache = field(kw_only=True)
    finished: Path = field(default_factory=Path)

    def bench(self, place: Place) -> Bench:
        return Bench(place.project, place.cache)

    def place(self, root: Path) -> Place:
        make_bench(root, self.project, self.machine, ())
        place = Place(root)
        place.temporary.mkdir()
        earlier = place.project.images / _EARLIER
        earlier.mkdir(parents=True)
        data = random.Random(0).randbytes(3 << 20)
        (earlier / "image.raw").write_bytes(data)
        (earlier / "SHA256SUMS").write_text(f"{digest_bytes(data)}  image.raw\n")
        return place

    def keep(self, place: Place) -> None:
        """Keep the finished image of ``place`` as what others are copied from."""
        copy(self.bench(place).image, self.finished)

    def options(self, place: Place) -> list[str]:
        mirror = place.root / "mirror"
        return ["--mirror", f"debian={mirror.as_uri()}"] if mirror.is_dir() else []

    def folders(self, place: Place) -> dict[str, Path]:
        return {"cache": place.cache.root, "images": place.project.images}

    def earlier(self, place: Place) -> Mapping[str, str]:
        return {
            f"project/{name}": told
            for name, told in untouched(place.project.root).items()
            if name.startswith(("profiles/", "overlays/", f"out/{_EARLIER}/"))
        }

    def result(self, place: Place) -> Mapping[str, str]:
        found = content(self.bench(place).image)
        return {name: told for name, told in found.items() if name != "build.log"}

    def halves(self, place: Place) -> list[str]:
        image = self.bench(place).image
        if not image.exists() or self.result(place) == self.reference:
            return []
        return [str(image)]

    def leftovers(self, place: Place) -> list[str]:
        bench = self.bench(place)
        names = {_EARLIER, bench.image.name, bench.log.name, f"{bench.image.name}.report.html"}
        images = [name for name in below(place, place.project.images) if Path(name).name not in names]
        return [*bench.leftovers(), *images, *below(place, place.temporary)]
