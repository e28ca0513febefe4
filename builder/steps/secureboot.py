"""Secure Boot: whose signature a UKI bears, and the key that makes one.

The signature itself is made where the UKI is put together, by systemd's own signer within mkosi: with a root file
system under verity that is in the middle of making the disk. The key's file is seen there read-only, in the build's
private mount namespace, and nothing of it is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pefile
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.serialization.pkcs7 import load_der_pkcs7_certificates

from builder.data.certificate import MAKE_KEY, Certificate
from builder.foundation.keyfile import read_rsa_key

_HEAD = 1 << 16  # bytes that hold all headers of a UKI
_SECURITY = 4  # IMAGE_DIRECTORY_ENTRY_SECURITY
_WIN_CERTIFICATE = 8  # bytes in front of the signature itself


def require_boot_key(path: Path, certificate: Certificate, forbidden: Sequence[Path]) -> Path:
    """The file with the private key of ``certificate``, checked before anything is built.

    Args:
        forbidden: folders in which no key may lie, since what is there gets published.

    Raises:
        InputError: as :func:`~builder.foundation.keyfile.read_rsa_key`.
    """
    read_rsa_key(path, x509.load_pem_x509_certificate(certificate.pem), forbidden, MAKE_KEY)
    return path


def der(pem: bytes) -> bytes:
    """A certificate in PEM form as firmware takes it.

    Raises:
        ValueError: it is none.
    """
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


def described(pem: bytes) -> tuple[str, str]:
    """SHA-256 of a certificate in PEM form, hexadecimal, and its subject.

    Raises:
        ValueError: it is none.
    """
    certificate = x509.load_pem_x509_certificate(pem)
    return certificate.fingerprint(SHA256()).hex(), certificate.subject.rfc4514_string()


def bears_signature(uki: Path, pem: bytes) -> bool:
    """Whether a UKI has a signature that says it is by this certificate; a look at its headers, no proof.

    Raises:
        OSError: it cannot be read.
    """
    try:
        with uki.open("rb") as stream:
            read = pefile.PE(data=stream.read(_HEAD), fast_load=True)
            entry = read.OPTIONAL_HEADER.DATA_DIRECTORY[_SECURITY]
            # This one entry holds an offset in the file, not a virtual address.
            stream.seek(int(entry.VirtualAddress) + _WIN_CERTIFICATE)
            signature = stream.read(max(0, int(entry.Size) - _WIN_CERTIFICATE))
        # Filled up to eight bytes; the outermost length tells where it ends.
        certificates = load_der_pkcs7_certificates(signature[: 4 + int.from_bytes(signature[2:4])])
    except (pefile.PEFormatError, ValueError, IndexError):
        return False
    return x509.load_pem_x509_certificate(pem) in certificates


def why_refused(uki: Path, pem: bytes) -> str:
    """Why firmware that trusts this certificate alone would not start a UKI; empty when it would.

    Raises:
        OSError: it cannot be read.
    """
    # Takes a moment to load, which all but `lichen inspect` are spared.
    import lief

    lief.logging.disable()
    wanted = lief.PE.ParserConfig()
    wanted.parse_imports = wanted.parse_exports = wanted.parse_rsrc = wanted.parse_reloc = False
    read = lief.PE.parse(uki.read_bytes(), wanted)
    if not isinstance(read, lief.PE.Binary):
        return "it is no EFI program"
    if not read.has_signatures:
        return "it is not signed"
    # Firmware does not ask what day it is.
    found = read.verify_signature(lief.PE.Signature.VERIFICATION_CHECKS.SKIP_CERT_TIME)
    if found != lief.PE.Signature.VERIFICATION_FLAGS.OK:
        return f"its signature is not of these bytes ({found.name})"
    signers = [signer.cert for signature in read.signatures for signer in signature.signers]
    return "" if der(pem) in [bytes(item.raw) for item in signers if item] else "another key signed it"
