"""The container image keeps the specification's rules, holds the image's files, and runs."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import zstandard

from builder.data.contents import read_contents
from builder.steps.formats import Source, write_oci
from builder.steps.formats.oci import LEFT_OUT
from tests.compare.world import EPOCH, World
from tests.export.conftest import Small, checked

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass
class Layout:
    """An OCI image layout, read by its specification alone."""

    files: dict[str, bytes]

    @classmethod
    def read(cls, path: Path) -> Layout:
        with tarfile.open(path) as archive:
            members = archive.getmembers()
            assert [member.name for member in members] == sorted(member.name for member in members)
            return cls({item.name: archive.extractfile(item).read() for item in members if item.isfile()})  # type: ignore[union-attr]

    def blob(self, descriptor: dict[str, Any], kind: str) -> bytes:
        """What a descriptor names, checked against it."""
        assert descriptor["mediaType"] == f"application/vnd.oci.image.{kind}"
        assert DIGEST.fullmatch(descriptor["digest"])
        content = self.files["blobs/sha256/" + descriptor["digest"].removeprefix("sha256:")]
        assert len(content) == descriptor["size"]
        assert hashlib.sha256(content).hexdigest() == descriptor["digest"].removeprefix("sha256:")
        return content

    @property
    def descriptor(self) -> dict[str, Any]:
        index = json.loads(self.files["index.json"])
        assert (index["schemaVersion"], index["mediaType"]) == (2, "application/vnd.oci.image.index.v1+json")
        (descriptor,) = index["manifests"]
        return dict(descriptor)

    @property
    def manifest(self) -> dict[str, Any]:
        manifest = json.loads(self.blob(self.descriptor, "manifest.v1+json"))
        assert (manifest["schemaVersion"], manifest["mediaType"]) == (2, "application/vnd.oci.image.manifest.v1+json")
        return dict(manifest)

    @property
    def config(self) -> dict[str, Any]:
        return dict(json.loads(self.blob(self.manifest["config"], "config.v1+json")))

    @property
    def layer(self) -> bytes:
        """The one layer as a tar."""
        (descriptor,) = self.manifest["layers"]
        packed = self.blob(descriptor, "layer.v1.tar+zstd")
        unpacked = zstandard.ZstdDecompressor().stream_reader(packed).read()
        assert self.config["rootfs"] == {
            "type": "layers",
            "diff_ids": [f"sha256:{hashlib.sha256(unpacked).hexdigest()}"],
        }
        return unpacked


def unpacked(layer: bytes, folder: Path) -> Path:
    """Unpack a layer with the system's tar, which knows nothing of ours."""
    folder.mkdir()
    words = ["tar", "--extract", "--numeric-owner", "--same-permissions", "--xattrs", "--xattrs-include=*"]
    subprocess.run([*words, "--directory", str(folder)], input=layer, check=True)
    return folder


@pytest.fixture(scope="module")
def layout(small: Small) -> Layout:
    checked(small.form("oci"))
    return Layout.read(small.form("oci") / "image.oci.tar")


@pytest.fixture(scope="module")
def layer(layout: Layout) -> bytes:
    return layout.layer


def test_layout_keeps_the_rules(small: Small, layout: Layout) -> None:
    manifest = small.image.manifest
    assert json.loads(layout.files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    assert set(layout.files) == {
        "oci-layout",
        "index.json",
        *(
            f"blobs/sha256/{item['digest'].removeprefix('sha256:')}"
            for item in (layout.descriptor, layout.manifest["config"], *layout.manifest["layers"])
        ),
    }
    assert layout.descriptor["platform"] == {"architecture": "amd64", "os": "linux"}
    name = layout.descriptor["annotations"]["org.opencontainers.image.ref.name"]
    assert name == f"small:{manifest.lock[:12]}"
    config = layout.config
    assert (config["architecture"], config["os"]) == ("amd64", "linux")
    # RFC 3339, and no clock's word: the lock's date.
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", config["created"])
    assert config["config"]["ExposedPorts"] == {"22/tcp": {}}
    assert config["config"]["Cmd"] == ["/bin/bash"]
    assert len(config["history"]) == len(config["rootfs"]["diff_ids"])


def test_layer_holds_the_files_of_the_image(small: Small, layer: bytes) -> None:
    """Every file with its bytes, mode and owner as the image's own list tells, but what belongs to a machine."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
        names = [member.name for member in archive]
        assert len(names) == len(set(names))
        assert all(member.mtime <= small.image.manifest.source_date_epoch for member in archive)
        for member in archive:
            content = archive.extractfile(member) if member.isfile() or member.islnk() else None
            digest = hashlib.sha256(content.read()).hexdigest() if content else None
            found["/" + member.name] = (member.mode, member.uid, member.gid, digest)
    left_out = tuple(f"/{folder}/" for folder in LEFT_OUT)
    wanted = {
        item.path: (item.mode, item.uid, item.gid, item.sha256)
        for item in read_contents(small.image.folder / "contents.jsonl")
        if item.sha256 and not item.path.startswith(left_out)
    }
    assert wanted
    assert {path: found.get(path) for path in wanted} == wanted
    assert not [path for path in found if path.startswith(left_out)]


def test_container_runs(layout: Layout, layer: bytes, tmp_path: Path) -> None:
    if not shutil.which("crun"):
        pytest.fail("the runtime crun is not installed: run `ci/setup test`")
    unpacked(layer, tmp_path / "rootfs")
    subprocess.run(["crun", "spec"], cwd=tmp_path, check=True)
    spec = json.loads((tmp_path / "config.json").read_text())
    spec["process"] |= {
        "terminal": False,
        "env": layout.config["config"]["Env"],
        "args": ["/bin/bash", "-ec", '. /etc/os-release; echo $ID $VERSION_ID; perl -e "print 6*7"; dpkg --audit'],
    }
    (tmp_path / "config.json").write_text(json.dumps(spec))
    # crun refuses hosts that mix both versions of control groups, although it is to make none.
    script = "umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec crun --root state "
    script += "--cgroup-manager disabled run lichen-test"
    words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "debian 13\n42"), done.stderr


def test_everything_about_a_file_travels(world: World, source: Callable[[Path], Source], tmp_path: Path) -> None:
    tree = world.tree("tree", {"usr/bin/tool": b"tool" * 5000, "boot/kernel": b"", "etc/Ünï": b"x", "n" * 120: b"long"})
    (tree / "usr/bin/other name").hardlink_to(tree / "usr/bin/tool")
    (tree / "etc/link").symlink_to("../usr/bin/tool")
    (tree / "etc" / os.fsdecode(b"latin-\xe4")).write_bytes(b"latin")
    os.utime(tree / "etc/Ünï", (EPOCH + 1000, EPOCH + 1000))
    capability = bytes.fromhex("0100000200200000000000000000000000000000")  # cap_net_raw=ep
    (world.folder / "capability").write_bytes(capability)
    commands = [
        *("mknod device c 1 3", "sif /usr/bin/tool uid 123456", "sif /usr/bin/tool mode 0104711"),
        f"ea_set -f {world.folder}/capability /usr/bin/tool security.capability",
        f"ea_set /etc/link user.{'n' * 40} {'value' * 60}",
    ]
    made = source(world.ext4("root", tree, commands))
    write_oci(made, tmp_path, ["/opt/ai/bin"])
    layout = Layout.read(tmp_path / "image.oci.tar")
    assert layout.config["config"]["Env"][0].endswith(":/sbin:/bin:/opt/ai/bin")
    assert list(layout.config["config"]["ExposedPorts"]) == ["22/tcp", "443/tcp"]
    with tarfile.open(fileobj=io.BytesIO(layout.layer)) as archive:
        assert [member.name for member in archive] == sorted(member.name for member in archive)
        kinds = {member.type for member in archive}
        assert kinds == {tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE}
        assert archive.getmember("etc/Ünï").mtime == EPOCH
        assert archive.getmember("etc/link").pax_headers[f"SCHILY.xattr.user.{'n' * 40}"] == "value" * 60
    root = unpacked(layout.layer, tmp_path / "unpacked")
    assert {os.fsencode(path.relative_to(root)) for path in root.rglob("*")} == {
        *(b"usr", b"usr/bin", b"usr/bin/tool", b"usr/bin/other name", b"boot", b"etc", b"n" * 120),
        *("etc/Ünï".encode(), b"etc/latin-\xe4", b"etc/link"),
    }
    tool, other = root / "usr/bin/tool", root / "usr/bin/other name"
    assert tool.samefile(other)
    assert tool.read_bytes() == b"tool" * 5000
    assert (tool.stat().st_uid, tool.stat().st_mode) == (123456, 0o104711)
    assert os.getxattr(tool, "security.capability") == capability
    assert os.readlink(root / "etc/link") == "../usr/bin/tool"


@pytest.fixture
def erofs(world: World) -> Path:
    tree = world.tree("tree", {"usr/bin/tool": b"tool" * 5000, "etc/name": b"x"})
    (tree / "usr/bin/other").hardlink_to(tree / "usr/bin/tool")
    os.setxattr(tree / "etc/name", "user.told", b"\xff\0")
    world.shell(f"mkfs.erofs --quiet -zzstd '{world.folder}/erofs' '{tree}'")
    return world.folder / "erofs"


def test_root_may_be_an_erofs(erofs: Path, source: Callable[[Path], Source], tmp_path: Path) -> None:
    write_oci(source(erofs), tmp_path)
    root = unpacked(Layout.read(tmp_path / "image.oci.tar").layer, tmp_path / "unpacked")
    assert (root / "usr/bin/tool").read_bytes() == b"tool" * 5000
    assert (root / "usr/bin/tool").samefile(root / "usr/bin/other")
    assert os.getxattr(root / "etc/name", "user.told") == b"\xff\0"
