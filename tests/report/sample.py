"""An image folder with everything beside it, small enough to know every number in it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from builder.data.contents import CONTENTS, FileEntry, contents_text
from builder.data.lock import Deb, Wheel
from builder.data.manifest import Artefact, Manifest
from builder.data.testresults import BOOT, PORTS, TESTS, Boot, BootUnit, Port, ports_text
from builder.data.verification import Compared, Difference, Rebuild, Verification

MIB = 1 << 20
LOCK = "ab" * 32


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def deb(name: str, version: str = "1.0-1", source: str = "") -> Deb:
    path = f"pool/main/{name[0]}/{source or name}/{name}_{version}_amd64.deb"
    return Deb(
        name=name,
        version=version,
        architecture="amd64",
        archive="debian",
        path=path,
        size=123_456,
        sha256=sha(path),
        uses=("image",),
    )


def wheel(name: str, version: str = "2.0") -> Wheel:
    filename = f"{name}-{version}-py3-none-any.whl"
    return Wheel(name=name, version=version, filename=filename, size=4_567, sha256=sha(filename), uses=("image",))


MANIFEST = Manifest(
    profile="meadow",
    architecture="amd64",
    hostname="meadow",
    lock=LOCK,
    image="cd" * 32,
    source_date_epoch=1_700_000_000,
    overlays=("ssh", "web"),
    options={"ssh": {}, "web": {"title": "Hello", "open": True, "names": ("anna", "ben"), "port": 443}},
    ports=(22, 443),
    root_filesystem="ext4",
    kernel="6.12.1-amd64",
    tools={"lichen": "0.1.0", "mkosi": "27.1-1"},
    packages=(deb("libssl3", "3.5.1-1+deb13u1", "openssl"), deb("nano"), deb("zstd")),
    wheels=(wheel("flask"), wheel("numpy", "2.2.4")),
    artefacts={"image.raw": Artefact(size=512 * MIB, sha256=sha("raw")), "image.efi": Artefact(size=9, sha256=sha(""))},
)


def entry(path: str, size: int, owner: str, content: str = "") -> FileEntry:
    return FileEntry(
        path=path, kind="file", mode=0o644, uid=0, gid=0, size=size, sha256=sha(content or path), owner=owner
    )


FILES = (
    entry("/usr/bin/nano", 3 * MIB, "deb:nano"),
    entry("/usr/share/doc/nano/copyright", 1000, "deb:nano"),
    entry("/usr/lib/libssl.so.3", 2 * MIB, "deb:libssl3", "double"),
    entry("/opt/ai/lib/libssl.so.3", 2 * MIB, "wheel:numpy", "double"),
    entry("/opt/ai/lib/core.so", 8 * MIB, "wheel:numpy"),
    entry("/etc/motd", 10, "overlay:web"),
    entry("/var/lib/dpkg/status", MIB, "build"),
    FileEntry(path="/usr", kind="folder", mode=0o755, uid=0, gid=0, owner="build"),
    FileEntry(path="/bin", kind="link", mode=0o777, uid=0, gid=0, link="usr/bin", owner="build"),
)
BOOTED = Boot(
    virtualization="qemu",
    firmware=4.0,
    loader=1.0,
    kernel=3.0,
    initrd=2.0,
    userspace=10.0,
    units=(
        BootUnit(name="srv.mount", start=3.5, seconds=4.25),
        BootUnit(name="slow.service", start=6.0, seconds=9.0),
        BootUnit(name="sysinit.target", start=6.5, seconds=0.0),
    ),
    critical_chain=("multi-user.target @15.0s", "`-slow.service @6.0s +9.0s"),
)
OPEN = (
    Port(protocol="tcp", address="0.0.0.0", port=22, process="sshd"),
    Port(protocol="tcp", address="::", port=443, process="node"),
    Port(protocol="udp", address="127.0.0.53%lo", port=53, process="systemd-resolve"),
    Port(protocol="udp", address="::1", port=9999, process=""),
)
JUNIT = """\
<?xml version="1.0" encoding="utf-8"?>
<testsuites><testsuite name="pytest" errors="1" failures="1" skipped="1" tests="4" time="9.5">
<testcase classname="tests.image.test_all" name="test_good" time="1.25" />
<testcase classname="tests.image.test_all" name="test_bad" time="2.0">
<failure message="assert 1 == 2">at line 3</failure></testcase>
<testcase classname="overlays.web" name="test_broken" time="0.5"><error message="no fixture" /></testcase>
<testcase classname="overlays.web" name="test_left" time="0.0">
<skipped type="pytest.skip" message="no browser" /></testcase>
</testsuite></testsuites>
"""


def rebuild(number: int, *differences: Difference) -> Rebuild:
    other = sha("other") if differences else sha("raw")
    return Rebuild(
        number=number,
        conditions={"clock": f"+{number} weeks", "umask": "0077"},
        seconds=60.0 + number,
        compared=(Compared(name="image.raw", first=sha("raw"), second=other),),
        differences=differences,
    )


CLOCK = Difference(
    artefact="image.raw", part="root", path="/etc/date", what="content", cause="clock", evidence="-2026\n+2027\n"
)
VERIFIED = Verification(profile="meadow", architecture="amd64", lock=LOCK, seed=7, rebuilds=(rebuild(1), rebuild(2)))


def spdx(*packages: dict[str, object]) -> str:
    return json.dumps({"spdxVersion": "SPDX-2.3", "packages": list(packages)})


def write_manifest(folder: Path, manifest: Manifest = MANIFEST) -> Path:
    """An image folder with its manifest only; returns it."""
    image = folder / "meadow_amd64_abababababab"
    image.mkdir(parents=True, exist_ok=True)
    (image / "manifest.json").write_text(manifest.text())
    return image


def write_all(folder: Path, manifest: Manifest = MANIFEST) -> Path:
    """An image folder with everything that can be beside it; returns it."""
    image = write_manifest(folder, manifest)
    (image / CONTENTS).write_text(contents_text(FILES))
    results = image.with_name(f"{image.name}.test")
    (results / "artifacts").mkdir(parents=True)
    (results / TESTS).write_text(JUNIT)
    (results / "artifacts" / BOOT).write_text(BOOTED.text())
    (results / "artifacts" / PORTS).write_text(ports_text(OPEN))
    image.with_name(f"{image.name}.verify.json").write_text(VERIFIED.text())
    return image
