"""The project's own kernel: is its configuration what was asked for? And signatures for its modules."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.serialization.pkcs7 import PKCS7Options, PKCS7SignatureBuilder

from builder.data.certificate import MAKE_KEY, Certificate
from builder.data.driver import DriverBuild
from builder.data.fragment import parse_config
from builder.data.kconfig import judge
from builder.data.kernel import OWN_ARCHIVE, KernelBuild
from builder.data.lock import Deb
from builder.foundation.digest import digest_file
from builder.foundation.errors import InputError
from builder.foundation.keyfile import read_rsa_key

# What the component kernel-config leaves.
CONFIG = "config"
ANSWERS = "answers.jsonl"
# struct module_signature and the mark behind it (include/linux/module_signature.h): PKCS#7, the length big-endian.
_INFO = struct.Struct(">BBBBB3xI")
_PKCS7 = 2
_MARK = b"~Module signature appended~\n"
_OPTIONS = (
    PKCS7Options.DetachedSignature,
    PKCS7Options.Binary,
    PKCS7Options.NoAttributes,
    PKCS7Options.NoCerts,
)


def judged(build: KernelBuild, folder: Path) -> tuple[str, ...]:
    """Hold a kernel's final configuration against what was asked for.

    Args:
        folder: what the component ``kernel-config`` left.

    Returns:
        A note on each setting that was only preferred and cannot be had.

    Raises:
        InputError: what is required and not met, all of it, each with the reason that Kconfig gives.
    """
    final = parse_config((folder / CONFIG).read_text(encoding="utf-8"))
    answers = (folder / ANSWERS).read_text(encoding="utf-8")
    name = f"linux {build.upstream} for {build.architecture}"
    verdict = judge(build.kernel.settings(build.architecture), final, answers, name)
    if verdict.problems:
        raise InputError(verdict.problems)
    return verdict.notes


class ModuleSigner(Protocol):
    """Whoever can sign kernel modules: a key in a file here, a token or a service elsewhere."""

    @property
    def certificate_sha256(self) -> str:
        """SHA-256 of the signer's certificate in PEM form: the one that the kernel is built with."""

    def trailer(self, module: bytes) -> bytes:
        """What is appended to a module so that the kernel finds it signed."""


def built_packages(kernel: KernelBuild, drivers: Sequence[DriverBuild], folder: Path) -> tuple[Deb, ...]:
    """What the component ``modules`` left for an image in ``folder``, as a manifest lists packages."""
    return (
        _built(kernel.image_package, kernel.version, kernel.source.source_package, kernel, folder),
        *(_built(item.package, item.version, item.source.source_package, kernel, folder) for item in drivers),
    )


def _built(name: str, version: str, source: str, kernel: KernelBuild, folder: Path) -> Deb:
    path = folder / f"{name}.deb"
    return Deb(
        name=name,
        version=version,
        architecture=kernel.architecture,
        archive=OWN_ARCHIVE,
        path=f"{source}/{path.name}",
        size=path.stat().st_size,
        sha256=digest_file(path),
        uses=("image",),
    )


@dataclass(frozen=True)
class FileModuleSigner:
    """A signer of modules whose key was read from a file. It shows no key when printed."""

    _key: RSAPrivateKey
    _certificate: x509.Certificate
    certificate_sha256: str

    def trailer(self, module: bytes) -> bytes:
        """As :class:`ModuleSigner` says; the same bytes for the same module."""
        builder = PKCS7SignatureBuilder().set_data(module).add_signer(self._certificate, self._key, SHA512())
        signature = builder.sign(Encoding.DER, _OPTIONS)
        return signature + _INFO.pack(0, 0, _PKCS7, 0, 0, len(signature)) + _MARK


def sign_modules(image: Path, signer: ModuleSigner, destination: Path) -> None:
    """Write the signature of each module below ``image`` into ``destination``, as ``PATH.ko.sig``.

    Paths are relative to the modules' folder of the kernel's release.
    """
    (modules,) = (image / "usr/lib/modules").iterdir()
    for module in sorted(modules.rglob("*.ko")):
        signature = destination / f"{module.relative_to(modules)}.sig"
        signature.parent.mkdir(parents=True, exist_ok=True)
        signature.write_bytes(signer.trailer(module.read_bytes()))


def read_module_signer(path: Path, certificate: Certificate, forbidden: Sequence[Path]) -> FileModuleSigner:
    """A signer with the private key in a PEM file.

    Args:
        certificate: the one that the kernel is built with.
        forbidden: folders in which no key may lie, since what is there gets published.

    Raises:
        InputError: as :func:`~builder.foundation.keyfile.read_rsa_key`.
    """
    parsed = x509.load_pem_x509_certificate(certificate.pem)
    return FileModuleSigner(read_rsa_key(path, parsed, forbidden, MAKE_KEY), parsed, certificate.sha256)
