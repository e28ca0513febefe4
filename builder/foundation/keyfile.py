"""Files with private keys: read only where nobody else can, and nothing of them is published."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from builder.foundation.errors import InputError, Problem

UNUSABLE = "this key cannot be used for signing"


def read_key_file(path: Path, forbidden: Sequence[Path], make_one: str) -> bytes:
    """The content of a file with a private key.

    Args:
        forbidden: folders in which no key may lie, since what is there gets published.
        make_one: how to make such a key, for the error.

    Raises:
        InputError: it cannot be read, others can read it, or it lies in a forbidden folder. No word of it is in the
            error.
    """
    try:
        real = path.resolve(strict=True)
        mode = real.stat().st_mode
        content = real.read_bytes()
    except OSError as error:
        raise InputError(Problem("the key cannot be read", str(path), error.strerror or "", make_one)) from None
    if inside := next((folder for folder in forbidden if real.is_relative_to(folder.resolve())), None):
        remedy = "keep keys elsewhere: what is there is committed, published or shared"
        raise InputError(Problem(UNUSABLE, str(path), f"it lies in {inside}", remedy))
    if stat.S_IMODE(mode) & 0o077:
        why = f"its permissions are {stat.S_IMODE(mode):04o}: others on this machine can use it"
        raise InputError(Problem(UNUSABLE, str(path), why, f"run `chmod 600 {path}`"))
    return content


def read_rsa_key(path: Path, certificate: x509.Certificate, forbidden: Sequence[Path], make_one: str) -> RSAPrivateKey:
    """The private RSA key in a PEM file that belongs to a certificate.

    Args:
        forbidden, make_one: as of :func:`read_key_file`.

    Raises:
        InputError: as :func:`read_key_file`, it is no plain RSA key, or not the certificate's. No word of it is in the
            error.
    """
    pem = read_key_file(path, forbidden, make_one)
    remedy = "name the key that belongs to the certificate in the profile"
    try:
        key = load_pem_private_key(pem, password=None)
    except (TypeError, ValueError, UnsupportedAlgorithm):
        raise InputError(Problem(UNUSABLE, str(path), "it holds no plain private key in PEM form", remedy)) from None
    if not isinstance(key, RSAPrivateKey) or key.public_key() != certificate.public_key():
        raise InputError(Problem(UNUSABLE, str(path), "the certificate is of another one", remedy))
    return key
