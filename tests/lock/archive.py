"""A Debian-like archive made in the test: real packages, real indices, really signed."""

from __future__ import annotations

import functools
import hashlib
import itertools
import lzma
import os
import posixpath
import re
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from builder.foundation.digest import digest_bytes
from tests.store.mirror import Mirror

EPOCH = 1_700_000_000  # every file in every package
HOME = tempfile.gettempdir()  # gpg's socket must have a short path


class Key:
    """An OpenPGP key pair that apt accepts, whether it verifies with gpgv or with sqv.

    With ``year`` it lives in the first days of that year, and so do its signatures.
    """

    def __init__(self, home: Path, year: int | None = None) -> None:
        self.home = home
        self.clock = () if year is None else ("--faked-system-time", f"{year}0102T000000!")
        home.chmod(0o700)
        expires = "never" if year is None else "7d"
        self._gpg("--cert-digest-algo", "SHA512", "--quick-generate-key", "Test archive", "ed25519", "sign", expires)
        self.keyring = home / "archive-keyring.gpg"
        self.keyring.write_bytes(self._gpg("--export"))
        self.armoured = self._gpg("--armor", "--export")
        self.private = self._gpg("--armor", "--export-secret-keys")
        listed = self._gpg("--with-colons", "--list-keys").decode()
        (self.fingerprint,) = re.findall("^fpr:+([0-9A-F]{40}):$", listed, re.M)

    def sign(self, release: str) -> bytes:
        """``release`` as an InRelease file."""
        return self._gpg("--digest-algo", "SHA512", "--clear-sign", stdin=release.encode())

    def detached(self, content: bytes) -> bytes:
        """A signature beside ``content``."""
        return self._gpg("--armor", "--detach-sign", stdin=content)

    def close(self) -> None:
        """End gpg's agent, which would outlive the test."""
        subprocess.run(["gpgconf", "--homedir", self.home, "--kill", "all"], check=True)

    def _gpg(self, *arguments: str, stdin: bytes = b"") -> bytes:
        argv = ["gpg", "--homedir", str(self.home), "--batch", "--quiet", "--pinentry-mode", "loopback"]
        argv += ["--passphrase", "", *self.clock, *arguments]
        return subprocess.run(argv, input=stdin, capture_output=True, check=True).stdout


@dataclass(frozen=True)
class Package:
    """What a package's control file says, and a script that runs before it is unpacked."""

    name: str
    version: str = "1.0-1"
    architecture: str = "all"
    depends: str = ""
    conflicts: str = ""
    provides: str = ""
    essential: bool = False
    component: str = "main"
    preinst: str = ""

    @property
    def control(self) -> str:
        fields = {
            "Package": self.name,
            "Version": self.version,
            "Architecture": self.architecture,
            "Maintainer": "Nobody <nobody@example.test>",
            "Essential": "yes" if self.essential else "",
            "Depends": self.depends,
            "Conflicts": self.conflicts,
            "Provides": self.provides,
            "Description": "a dummy",
        }
        return "".join(f"{key}: {value}\n" for key, value in fields.items() if value)

    @property
    def path(self) -> str:
        """Where it lies below the archive's root."""
        plain = self.version.rpartition(":")[2]
        return f"pool/{self.component}/{self.name[0]}/{self.name}/{self.name}_{plain}_{self.architecture}.deb"


@functools.cache
def deb(package: Package) -> bytes:
    """The package file, made by dpkg-deb; the same bytes everywhere."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "tree/DEBIAN").mkdir(parents=True)
        (folder / "tree/DEBIAN/control").write_text(package.control)
        files = {"tree/DEBIAN/control": 0o644, "tree/DEBIAN": 0o755, "tree": 0o755}
        if package.preinst:
            (folder / "tree/DEBIAN/preinst").write_text(package.preinst)
            files = {"tree/DEBIAN/preinst": 0o755, **files}
        for path, mode in files.items():
            (folder / path).chmod(mode)
            os.utime(folder / path, (EPOCH, EPOCH))
        argv = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", "tree", "package.deb"]
        environment = {"PATH": os.environ["PATH"], "SOURCE_DATE_EPOCH": str(EPOCH)}
        subprocess.run(argv, cwd=folder, env=environment, check=True, capture_output=True)
        return (folder / "package.deb").read_bytes()


@dataclass
class Suite:
    """One suite: what is in it, and when its index was made and ends to hold.

    One whose name ends in ``/`` is a flat repository: indices and packages lie in one folder.
    """

    archive: str
    name: str
    packages: list[Package] = field(default_factory=list)
    architectures: tuple[str, ...] = ("amd64", "arm64")
    components: tuple[str, ...] = ("main",)
    date: datetime = field(default_factory=lambda: datetime.now(UTC) - timedelta(hours=1))
    valid_until: datetime | None = None
    by_hash: bool = True
    origin: str = "Debian"
    sums: str = "SHA256"

    @property
    def flat(self) -> bool:
        return self.name.endswith("/")

    @property
    def folder(self) -> str:
        """Its folder in URLs."""
        return f"/{self.archive}/{self.name}".rstrip("/") if self.flat else f"/{self.archive}/dists/{self.name}"

    def path(self, package: Package) -> str:
        """Where a package lies below the archive's root, as its index tells it."""
        return f"./{package.path.rpartition('/')[2]}" if self.flat else package.path

    def index(self, architecture: str, component: str) -> bytes:
        """Its Packages file."""
        stanzas = []
        for package in self.packages:
            if package.architecture in ("all", architecture) and package.component == component:
                content = deb(package)
                file = f"Filename: {self.path(package)}\nSize: {len(content)}\n{self._sum(content)}"
                stanzas.append(package.control + file)
        return "\n".join(stanzas).encode()

    def _sum(self, content: bytes) -> str:
        return f"{self.sums}: {hashlib.new(self.sums.lower(), content).hexdigest()}\n"

    def indices(self) -> dict[str, bytes]:
        """All of its indices by their name in Release."""
        files = {}
        for component, architecture in itertools.product(self.components, self.architectures):
            name = "Packages" if self.flat else f"{component}/binary-{architecture}/Packages"
            files[name] = self.index(architecture, component)
            files[f"{name}.xz"] = lzma.compress(files[name])
        return files

    def release(self) -> str:
        """Its Release file."""
        until = [f"Valid-Until: {_date(self.valid_until)}"] if self.valid_until else []
        label = "Debian-Security" if self.archive == "debian-security" else "Debian"
        sums = [f" {digest_bytes(data)} {len(data)} {name}" for name, data in sorted(self.indices().items())]
        lines = [
            f"Origin: {self.origin}",
            f"Label: {label}",
            f"Codename: {self.name}",
            f"Date: {_date(self.date)}",
            *until,
            f"Architectures: {' '.join(self.architectures)}",
            *([] if self.flat else [f"Components: {' '.join(self.components)}"]),
            *(["Acquire-By-Hash: yes"] if self.by_hash and not self.flat else []),
            "SHA256:",
            *sums,
        ]
        return "".join(f"{line}\n" for line in lines)

    def publish(self, mirror: Mirror, key: Key) -> None:
        """Put it on a mirror, over what is there of it."""
        self.publish_indices(mirror)
        mirror.files[f"{self.folder}/InRelease"] = key.sign(self.release())
        for package in self.packages:
            mirror.files[posixpath.normpath(f"/{self.archive}/{self.path(package)}")] = deb(package)

    def publish_indices(self, mirror: Mirror) -> None:
        """Put only the Packages files on a mirror; those known by hash before are gone."""
        for path in [path for path in mirror.files if path.startswith(f"{self.folder}/main/")]:
            del mirror.files[path]
        for name, data in self.indices().items():
            mirror.files[f"{self.folder}/{name}"] = data
            if self.by_hash and not self.flat:
                folder = name.rpartition("/")[0]
                mirror.files[f"{self.folder}/{folder}/by-hash/SHA256/{digest_bytes(data)}"] = data

    def paths(self, architecture: str = "amd64") -> list[str]:
        """Every path under which a mirror has the indices of an architecture."""
        names = []
        for name, data in self.indices().items():
            folder = name.rpartition("/")[0]
            if folder.endswith(f"-{architecture}"):
                names += [f"{self.folder}/{name}", f"{self.folder}/{folder}/by-hash/SHA256/{digest_bytes(data)}"]
        return names

    def add(self, *packages: Package) -> None:
        """Add packages, or replace those of the same name, version and architecture."""
        self.packages += packages

    def upgrade(self, name: str, version: str) -> None:
        """Add a newer version of a package."""
        (known,) = (package for package in self.packages if package.name == name)
        self.packages.append(replace(known, version=version))


def named(names: Iterable[str], **fields: object) -> list[Package]:
    """Packages without anything special."""
    return [replace(Package(name), **fields) for name in names]  # type: ignore[arg-type]


def _date(moment: datetime) -> str:
    return moment.strftime("%a, %d %b %Y %H:%M:%S UTC")
