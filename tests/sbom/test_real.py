"""The papers of an image that mkosi really built, against the disk itself."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from builder.data.contents import FileEntry, read_contents
from builder.foundation.digest import digest_bytes
from builder.foundation.toolbox import Toolbox
from builder.verbs.inspect import inspect_image
from tests.build.conftest import Built, built

__all__ = ["built"]


@pytest.fixture(scope="session")
def entries(built: Built) -> dict[str, FileEntry]:
    return {entry.path: entry for entry in read_contents(built.image.folder / "contents.jsonl")}


def test_folder_is_whole(built: Built) -> None:
    found = inspect_image(built.image.folder)
    assert found.problems == ()
    assert found.signature.state == "unsigned"


def test_bill_is_valid(built: Built) -> None:
    document = parse_file(str(built.image.folder / "sbom.spdx.json"))
    assert validate_full_spdx_document(document) == []
    sums = {package.checksums[0].value for package in document.packages if package.checksums}
    assert {deb.sha256 for deb in built.image.manifest.packages} <= sums
    kernels = [package for package in document.packages if package.name == f"linux-image-{built.image.manifest.kernel}"]
    assert [str(kernel.source_info).split()[5] for kernel in kernels] == ["linux-signed-amd64"]
    told = [package for package in document.packages if str(package.license_declared) != "NOASSERTION"]
    assert len(told) > len(document.packages) * 2 / 3


def test_owners(built: Built, entries: dict[str, FileEntry]) -> None:
    assert entries["/usr/bin/bash"].owner == "deb:bash"
    assert entries["/etc/ssh/sshd_config.d/10-lichen.conf"].owner == "overlay:ssh"
    assert entries["/etc/hostname"].owner == "build"
    assert entries["/usr/bin/passwd"].mode == 0o4755
    assert entries["/etc/machine-id"].size == len("uninitialized\n")
    assert not [path for path in entries if path.startswith(("/etc/ssh/ssh_host_", "/work"))]
    built_files = [entry for entry in entries.values() if entry.kind == "file" and entry.owner == "build"]
    assert 50 < len(built_files) < 200, [entry.path for entry in built_files]
    document = json.loads((built.image.folder / "sbom.spdx.json").read_text())
    assert {f".{entry.path}" for entry in built_files} == {file["fileName"] for file in document["files"]}


@dataclass(frozen=True)
class Disk:
    """The root file system on the disk of an image, as e2fsprogs reads it."""

    image: Path
    toolbox: Toolbox
    scratch: Path

    def run(self, *words: str | Path) -> bytes:
        command = self.toolbox.command(words, readable=[self.image.parent, self.scratch])
        return subprocess.run(command, check=True, capture_output=True).stdout

    @property
    def root(self) -> str:
        table = json.loads(self.run("sfdisk", "--json", self.image))["partitiontable"]["partitions"]
        (start,) = (item["start"] for item in table if item["name"].startswith("root"))
        return f"{self.image}?offset={start * 512}"

    def content(self, path: str) -> bytes:
        return self.run("debugfs", "-R", f'cat "{path}"', self.root)

    def listing(self) -> dict[str, tuple[int, int, int]]:
        """Path, permissions and owners of everything."""
        found: dict[str, tuple[int, int, int]] = {}
        folders = [""]
        while folders:
            script = self.scratch / "commands"
            script.write_text("".join(f'ls -p "{folder or "/"}"\n' for folder in folders))
            said = self.run("debugfs", "-f", script, self.root).decode()
            deeper = []
            for block, folder in zip(said.split("debugfs: ")[1:], folders, strict=True):
                for line in block.splitlines():
                    match = LINE.fullmatch(line)
                    if match and match["name"] not in (".", ".."):
                        path = f"{folder}/{match['name']}"
                        found[path] = (int(match["mode"], 8) & 0o7777, int(match["uid"]), int(match["gid"]))
                        deeper += [path] if match["mode"].startswith("04") else []
            folders = deeper
        return found


LINE = re.compile(r"/[0-9]+/(?P<mode>[0-7]+)/(?P<uid>[0-9]+)/(?P<gid>[0-9]+)/(?P<name>.+)/[0-9]*/")


def test_contents_are_those_of_the_disk(
    built: Built, entries: dict[str, FileEntry], toolbox: Toolbox, tmp_path: Path
) -> None:
    """Nothing is on the disk that is not listed, and the other way round."""
    disk = Disk(built.image.folder / "image.raw", toolbox, tmp_path)
    found = disk.listing()
    del found["/lost+found"]
    wanted = {path: (entry.mode, entry.uid, entry.gid) for path, entry in entries.items()}
    assert len(found) > 5000
    differing = {path for path in {*found, *wanted} if found.get(path) != wanted.get(path)}
    assert {path: (found.get(path), wanted.get(path)) for path in differing} == {}
    for path in ("/usr/bin/bash", "/etc/shadow", "/var/lib/dpkg/status"):
        assert digest_bytes(disk.content(path)) == entries[path].sha256
