"""A project with locks and images that a test lays beside one another; their packages are real."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from builder.data.comparison import Comparison
from builder.data.contents import CONTENTS, FileEntry, contents_text
from builder.data.lock import Deb, Lock, Use, Wheel
from builder.data.manifest import Artefact, Manifest
from builder.foundation.digest import digest_bytes
from builder.foundation.store import Store
from builder.foundation.workbench import Workbench
from builder.verbs.diff import diff
from tests.lock.archive import Package
from tests.profiles.sample import Sample

Files = Mapping[str, bytes | str]
TRAILER = " -- Nobody <nobody@example.test>  Tue, 03 Feb 2026 04:05:06 +0000\n"


def entry(source: str, version: str, *lines: str) -> str:
    """One entry of a changelog."""
    changes = "".join(f"  {line}\n" for line in lines)
    return f"{source} ({version}) trixie; urgency=medium\n\n{changes}\n{TRAILER}\n"


def changelog(name: str, *entries: str, file: str = "changelog.Debian.gz") -> dict[str, bytes]:
    """The file of a package's changelog."""
    return {f"usr/share/doc/{name}/{file}": gzip.compress("".join(entries).encode(), mtime=0)}


def config(release: str, text: str) -> dict[str, bytes]:
    """The file of a kernel's configuration."""
    return {f"boot/config-{release}": text.encode()}


class Desk:
    """The project, this test's store, and what is compared."""

    def __init__(self, root: Path) -> None:
        self.sample = Sample(root)
        self.scratch = root.with_name("scratch")
        self.scratch.mkdir()
        self.bench: Workbench = self.sample.workbench()
        self.store = Store(self.bench.cache.store)

    def deb(
        self,
        name: str,
        version: str = "1.0-1",
        files: Files | None = None,
        *,
        source: str | None = None,
        uses: Sequence[Use] = ("image",),
        stored: bool = True,
    ) -> Deb:
        """A package of the store with these files; a text instead of bytes is what a link points to."""
        tree = Path(tempfile.mkdtemp(dir=self.scratch)) / f"{name}_{version}"
        (tree / "DEBIAN").mkdir(parents=True)
        (tree / "DEBIAN/control").write_text(Package(name, version).control)
        for path, content in (files or {}).items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                (tree / path).write_bytes(content)
            else:
                (tree / path).symlink_to(content)
        for folder, _, _ in os.walk(tree):
            Path(folder).chmod(0o755)
        made = tree.with_name(f"{tree.name}.deb")
        environment = {"PATH": os.environ["PATH"], "SOURCE_DATE_EPOCH": "1700000000"}
        argv = ["dpkg-deb", "--root-owner-group", "--build", str(tree), str(made)]
        subprocess.run(argv, env=environment, check=True, capture_output=True)
        content = made.read_bytes()
        found = Deb(
            name=name,
            version=version,
            architecture="all",
            archive="debian",
            path=f"pool/main/x/{source or name}/{made.name}",
            size=len(content),
            sha256=digest_bytes(content),
            uses=tuple(uses),
        )
        if stored:
            self.store.insert(made, found.sha256)
        return found

    def wheel(self, name: str, version: str, use: str = "image") -> Wheel:
        """A wheel that nobody opens."""
        file = f"{name}-{version}-py3-none-any.whl"
        found = {"name": name, "version": version, "filename": file, "size": 1000, "uses": [use]}
        return Wheel.model_validate({**found, "sha256": digest_bytes(file.encode())})

    def lock(self, debs: Iterable[Deb] = (), wheels: Iterable[Wheel] = (), **fields: object) -> Lock:
        """A lock of the profile ``small``."""
        said = {
            "profile": "small",
            "architecture": "amd64",
            "recipe": "1" * 64,
            "resolution": "2" * 64,
            "source_date_epoch": 1_770_000_000,
            "suites": [],
            "debs": list(debs),
            "wheels": list(wheels),
        }
        return Lock.model_validate({**said, **fields})

    def write(self, name: str, document: Lock | Manifest) -> str:
        """Write it to a file of the project; returns the path."""
        return str(self.sample.write(name, document.text()))

    def manifest(self, made_of: Lock, **fields: object) -> Manifest:
        """What an image of a lock says of itself."""
        manifest = Manifest(
            profile=made_of.profile,
            architecture=made_of.architecture,
            hostname="small",
            lock=made_of.digest,
            image="3" * 64,
            source_date_epoch=made_of.source_date_epoch,
            overlays=("core",),
            options={"core": {"level": 3}},
            ports=(),
            root_filesystem="ext4",
            kernel="",
            tools={"mkosi": "27-1"},
            packages=made_of.debs,
            wheels=made_of.wheels,
            artefacts={"image.raw": Artefact(size=5, sha256="4" * 64)},
        )
        return manifest.model_copy(update=fields)

    def image(
        self,
        name: str,
        manifest: Manifest,
        entries: Iterable[FileEntry] | None = None,
        ports: Sequence[tuple[str, str, int, str]] | None = None,
    ) -> str:
        """An image folder and what a test of it left; returns its path."""
        self.write(f"out/{name}/manifest.json", manifest)
        if entries is not None:
            self.sample.write(f"out/{name}/{CONTENTS}", contents_text(entries))
        if ports is not None:
            keys = ("protocol", "address", "port", "process")
            listed = [dict(zip(keys, port, strict=True)) for port in ports]
            self.sample.write(f"out/{name}.test/artifacts/ports.json", json.dumps(listed))
        return str(self.sample.root / "out" / name)

    def compare(self, old: Lock | Manifest, new: Lock | Manifest) -> Comparison:
        """Compare two locks or manifests by their files."""
        return diff(self.bench, self.write("old.json", old), self.write("new.json", new))


def file(path: str, size: int = 1, owner: str = "build", *, mode: int = 0o644, content: str = "") -> FileEntry:
    """A regular file; without ``content`` its bytes are its path's own."""
    digest = digest_bytes((content or path).encode())
    return FileEntry(path=path, kind="file", mode=mode, uid=0, gid=0, size=size, sha256=digest, owner=owner)


def link(path: str, target: str) -> FileEntry:
    """A symbolic link."""
    return FileEntry(path=path, kind="link", mode=0o777, uid=0, gid=0, link=target)
