"""Ed25519 signatures of an image folder, and their verification.

``SHA256SUMS.sig`` is the raw signature of ``SHA256SUMS``, 64 bytes, as ``openssl pkeyutl -verify -rawin`` takes it.
``provenance.dsse.json`` holds the provenance in a DSSE envelope, as in-toto's tools take it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from builder.data.manifest import ENVELOPE
from builder.foundation.digest import canonical_json
from builder.foundation.errors import InputError, Problem
from builder.foundation.keyfile import UNUSABLE, read_key_file

PAYLOAD_TYPE = "application/vnd.in-toto+json"
_MAKE_KEY = "make one with `openssl genpkey -algorithm ed25519 -out KEY.pem`"


class Signer(Protocol):
    """Whoever can sign: a key in a file here, a token or a service elsewhere."""

    @property
    def key_id(self) -> str:
        """Which key it is: SHA-256 of the public key (SubjectPublicKeyInfo, DER), hexadecimal."""

    def sign(self, data: bytes) -> bytes:
        """The raw Ed25519 signature of ``data``, 64 bytes."""


def key_id(key: Ed25519PublicKey) -> str:
    """The name of a key, as :attr:`Signer.key_id`."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


@dataclass(frozen=True)
class FileSigner:
    """A signer whose key was read from a file. It shows no key when printed."""

    _key: Ed25519PrivateKey

    @property
    def key_id(self) -> str:
        """As :class:`Signer` says."""
        return key_id(self._key.public_key())

    def sign(self, data: bytes) -> bytes:
        """As :class:`Signer` says."""
        return self._key.sign(data)


def read_signer(path: Path, forbidden: Sequence[Path]) -> FileSigner:
    """The private key in a PEM file.

    Args:
        forbidden: folders in which no key may lie, since what is there gets published.

    Raises:
        InputError: it cannot be read, others can read it, it lies in a forbidden folder, or it is no plain Ed25519 key.
            No word of the file is in the error.
    """
    text = read_key_file(path, forbidden, _MAKE_KEY)
    try:
        key = load_pem_private_key(text, password=None)
    except TypeError:
        why = "it is encrypted, and nobody is asked for a passphrase"
        remedy = "hand the plain key in on a file system in memory, for one: a systemd credential"
        raise InputError(Problem(UNUSABLE, str(path), why, remedy)) from None
    except (ValueError, UnsupportedAlgorithm):
        raise InputError(Problem(UNUSABLE, str(path), "it holds no private key in PEM form", _MAKE_KEY)) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(Problem(UNUSABLE, str(path), "it is no Ed25519 key", _MAKE_KEY))
    return FileSigner(key)


def read_public_key(path: Path) -> Ed25519PublicKey:
    """The public key in a PEM file.

    Raises:
        InputError: it cannot be read or is no Ed25519 key.
    """
    remedy = "write it with `openssl pkey -in KEY.pem -pubout`"
    try:
        key = load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise InputError(Problem("the key cannot be read", str(path), error.strerror or "")) from None
    except (ValueError, UnsupportedAlgorithm):
        raise InputError(Problem("this is no public key in PEM form", str(path), "", remedy)) from None
    if not isinstance(key, Ed25519PublicKey):
        raise InputError(Problem("this is no Ed25519 key", str(path), "images are signed with such keys", remedy))
    return key


def verifies(key: Ed25519PublicKey, signature: bytes, data: bytes) -> bool:
    """Whether ``signature`` is that of ``data`` by ``key``."""
    try:
        key.verify(signature, data)
    except InvalidSignature:
        return False
    return True


def envelope_text(signer: Signer, payload: bytes) -> str:
    """``payload`` (the provenance) in a signed DSSE envelope."""
    signature = base64.b64encode(signer.sign(_encoded(payload))).decode()
    return canonical_json(
        {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"keyid": signer.key_id, "sig": signature}],
        }
    )


@dataclass(frozen=True)
class Envelope:
    """A DSSE envelope with one signature; ``key_id`` is what it says, proven only by :meth:`verifies`."""

    payload: bytes
    key_id: str
    signature: bytes

    def verifies(self, key: Ed25519PublicKey) -> bool:
        """Whether the payload is signed by ``key``."""
        return verifies(key, self.signature, _encoded(self.payload))


def read_envelope(text: bytes) -> Envelope:
    """Parse an envelope.

    Raises:
        InputError: it is none, or none of a provenance.
    """
    try:
        document = json.loads(text)
        (signature,) = document["signatures"]
        if document["payloadType"] != PAYLOAD_TYPE:
            raise ValueError(document["payloadType"])
        payload = base64.b64decode(document["payload"], validate=True)
        return Envelope(payload, str(signature["keyid"]), base64.b64decode(signature["sig"], validate=True))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        why = f"{type(error).__name__}: {error}"
        raise InputError(Problem("this is no signed provenance", ENVELOPE, why)) from error


def _encoded(payload: bytes) -> bytes:
    """What is signed: DSSE's pre-authentication encoding."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)
