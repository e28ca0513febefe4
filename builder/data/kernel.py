"""The project's own kernel: Debian's source, fragments of configuration, and whose signature modules must have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from builder.data.certificate import Certificate, read_certificate
from builder.data.fragment import Fragment, Setting, config_text, merge_fragments, read_fragment
from builder.data.lock import Deb, Lock
from builder.data.profile import Architecture
from builder.foundation.digest import digest_value
from builder.foundation.errors import InputError, Problem

# Behind the version in the kernel's release (`uname -r`) and in the names of its packages.
LOCAL_VERSION = "-lichen"
# The archive that a manifest names for packages of the project's own.
OWN_ARCHIVE = "lichen"
# Where the build lays the certificate, relative to the source.
CERTIFICATE = "certs/lichen.pem"
_KINDS: Mapping[Architecture, str] = {"amd64": "x86", "arm64": "arm64", "riscv64": "riscv"}


@dataclass(frozen=True)
class OwnKernel:
    """What a profile and its overlays say about their own kernel.

    Attributes:
        source: Debian's source package.
        fragments: in the order in which they are named; each once.
    """

    source: str
    fragments: tuple[Fragment, ...]
    certificate: Certificate | None = None

    def settings(self, architecture: Architecture) -> tuple[Setting, ...]:
        """What all fragments ask for together, by symbol; with a certificate the kernel trusts it, and nothing else.

        Raises:
            InputError: fragments that disagree, all pairs with files and lines.
        """
        return merge_fragments((*self.fragments, *self._trust()), architecture)

    def _trust(self) -> tuple[Fragment, ...]:
        if self.certificate is None:
            return ()
        place = self.certificate.place
        wanted = {"MODULE_SIG": "y", "MODULE_SIG_FORCE": "y", "SYSTEM_TRUSTED_KEYS": f'"{CERTIFICATE}"'}
        settings = tuple(Setting(symbol, value, place) for symbol, value in wanted.items())
        return (Fragment("certificate", settings),)

    def identity(self) -> object:
        """What decides the kernel, for a digest: not where it stands, nor what comments say."""
        settings = [
            [item.symbol, item.value, item.required, item.built_in_will_do, list(item.architectures)]
            for fragment in self.fragments
            for item in fragment.settings
        ]
        return {
            "source": self.source,
            "settings": settings,
            "certificate": self.certificate.sha256 if self.certificate else None,
        }


@dataclass(frozen=True)
class KernelBuild:
    """One kernel as it will be built: names and versions follow from the locked source, settings and compilers.

    Attributes:
        compilers: digest of the locked packages that it is compiled with.
    """

    kernel: OwnKernel
    source: Deb
    architecture: Architecture
    compilers: str

    @classmethod
    def locked(cls, kernel: OwnKernel, source: Deb, lock: Lock) -> KernelBuild:
        """The kernel that is built from ``source`` with the compilers of ``lock``."""
        compilers = digest_value([deb.sha256 for deb in lock.used_by("toolchain")])
        return cls(kernel, source, lock.architecture, compilers)

    @property
    def upstream(self) -> str:
        """The kernel's own version, as in ``6.12.107``."""
        return self.source.version.rpartition(":")[2].partition("-")[0]

    @property
    def release(self) -> str:
        """What ``uname -r`` prints."""
        return f"{self.upstream}{LOCAL_VERSION}"

    @property
    def image_package(self) -> str:
        """Name of the package with kernel and modules."""
        return f"linux-image-{self.release}"

    @property
    def headers_package(self) -> str:
        """Name of the package with what other modules are built with."""
        return f"linux-headers-{self.release}"

    @property
    def version(self) -> str:
        """Version of both packages: Debian's, and behind it eight digits for all that decides the kernel's bytes.

        They tell versions apart and order none: dpkg calls every other change an upgrade or a downgrade by chance.
        """
        certificate = self.kernel.certificate.sha256 if self.kernel.certificate else None
        decides = [self.source.sha256, self.config, self.compilers, certificate]
        return f"{self.source.version}+lichen.{digest_value(decides)[:8]}"

    @property
    def config(self) -> str:
        """The settings as the kernel's own tools read them.

        Raises:
            InputError: as :meth:`OwnKernel.settings`.
        """
        return config_text(self.kernel.settings(self.architecture))

    @property
    def kbuild_architecture(self) -> str:
        """What the kernel's own build calls the architecture."""
        return _KINDS[self.architecture]


def read_kernel(
    root: Path, source: str, fragments: Mapping[str, str], certificate: tuple[str, str] | None
) -> OwnKernel:
    """Read all files of a project's own kernel.

    Args:
        root: the project.
        fragments: name of each fragment and where it is asked for.
        certificate: path relative to the project, and where the profile names it.

    Raises:
        InputError: everything that is wrong with any of the files, at once.
    """
    problems: list[Problem] = []
    read: list[Fragment] = []
    for name, place in fragments.items():
        try:
            read.append(read_fragment(root / "kernel-configs", name, place))
        except InputError as error:
            problems.extend(error.problems)
    trusted = None
    try:
        trusted = read_certificate(root, *certificate, "the modules' key") if certificate else None
    except InputError as error:
        problems.extend(error.problems)
    if problems:
        raise InputError(problems)
    return OwnKernel(source, tuple(read), trusted)


def architectures_disagree(kernel: OwnKernel, architectures: Sequence[Architecture]) -> list[Problem]:
    """All pairs of fragments that disagree, for any of the architectures."""
    problems: dict[str, Problem] = {}
    for architecture in architectures:
        try:
            kernel.settings(architecture)
        except InputError as error:
            problems.update({problem.where: problem for problem in error.problems})
    return list(problems.values())
