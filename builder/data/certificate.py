"""X.509 certificates that a profile names: public, files of the project, part of its lock."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding

from builder.foundation.digest import digest_bytes
from builder.foundation.errors import InputError, Problem

MAKE_KEY = "make keys and their certificates with `lichen keys new FOLDER`, outside of the project"


@dataclass(frozen=True)
class Certificate:
    """A certificate whose key signs something; ``place`` is where the profile names its file."""

    pem: bytes
    place: str

    @property
    def sha256(self) -> str:
        """Of the PEM text, as it is laid into builds."""
        return digest_bytes(self.pem)


def read_certificate(root: Path, path: str, place: str, whose: str) -> Certificate:
    """The certificate at ``path``, relative to the project ``root``.

    Args:
        whose: key it is of, for the error.

    Raises:
        InputError: it is missing, outside the project, no certificate of an RSA key, or holds a private key.
    """
    file = root / path

    def fault(why: str) -> InputError:
        return InputError(Problem(f"the certificate of {whose} cannot be used", place, f"{file}: {why}", MAKE_KEY))

    if not file.resolve().is_relative_to(root.resolve()):
        raise fault("it lies outside the project")
    try:
        content = file.read_bytes()
    except OSError as error:
        raise fault(error.strerror or str(error)) from error
    if b"PRIVATE KEY" in content:
        raise fault("it holds a private key, which must never be in a project")
    try:
        certificate = x509.load_pem_x509_certificate(content)
    except ValueError as error:
        raise fault("it holds no X.509 certificate in PEM form") from error
    if not isinstance(certificate.public_key(), RSAPublicKey):
        raise fault("its key is not RSA, which every kernel and every firmware can check")
    return Certificate(certificate.public_bytes(Encoding.PEM), place)
