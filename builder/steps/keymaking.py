"""Makes the keys of a project: for Secure Boot, for modules of its own kernels, for what lies beside its images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.hazmat.primitives.serialization.pkcs7 import PKCS7Options, PKCS7SignatureBuilder
from cryptography.x509.oid import NameOID

from builder.data.efivariables import signature_list, to_be_signed, update

# Firmware is sure to take RSA of 2048 bits with SHA-256 and need take nothing else (UEFI 2.10, 32.2.2).
_BOOT_BITS = 2048
_MODULE_BITS = 4096
# Neither firmware nor the kernel asks what day it is; who does should never find such a certificate out of date.
_FROM, _UNTIL = datetime(2000, 1, 1, tzinfo=UTC), datetime(2099, 12, 31, 23, 59, 59, tzinfo=UTC)
_EXPONENT = 65537
# A PKCS#7 message of 256 bytes to 64 KiB wraps its SignedData in so many: two headers and the object identifier.
# Variables are updated with the SignedData alone.
_WRAPPING = 19
_DETACHED = (PKCS7Options.DetachedSignature, PKCS7Options.Binary, PKCS7Options.NoAttributes)


@dataclass(frozen=True)
class KeyFile:
    """One file of a set; ``secret`` when it must stay with its owner. It shows no content when printed."""

    content: bytes
    secret: bool

    def __repr__(self) -> str:
        return f"KeyFile({len(self.content)} bytes, secret={self.secret})"


def key_set(moment: datetime) -> Mapping[str, KeyFile]:
    """The files of a new set by name, each key a random one.

    Args:
        moment: now; a machine takes a later update of its variables only when it is of a later time.
    """
    boot, exchange, platform = (
        _Pair.new(f"Lichen {name}", _BOOT_BITS) for name in ("Secure Boot", "key exchange", "platform")
    )
    modules = _Pair.new("Lichen modules", _MODULE_BITS)
    images = Ed25519PrivateKey.generate()
    pairs = {"secure-boot": boot, "exchange": exchange, "platform": platform, "modules": modules}
    found = {f"{name}.key": KeyFile(_private(pair.key), secret=True) for name, pair in pairs.items()}
    for name, pair in pairs.items():
        found[f"{name}.pem"] = KeyFile(pair.certificate.public_bytes(Encoding.PEM), secret=False)
    found["images.key"] = KeyFile(_private(images), secret=True)
    public = images.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    found["images.pem"] = KeyFile(public, secret=False)
    found["secure-boot.cer"] = KeyFile(boot.der, secret=False)
    # Each variable is changed by whoever holds the key of the one above; the first of all vouches for itself.
    for name, content, signer in (("PK", platform, platform), ("KEK", exchange, platform), ("db", boot, exchange)):
        found[f"{name}.auth"] = KeyFile(_signed_update(name, moment, content, signer), secret=False)
    return found


@dataclass(frozen=True)
class _Pair:
    """A key and its certificate, by itself."""

    key: RSAPrivateKey
    certificate: x509.Certificate

    @classmethod
    def new(cls, name: str, bits: int) -> _Pair:
        key = generate_private_key(_EXPONENT, bits)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = dict.fromkeys(
            ("key_cert_sign", "crl_sign", "key_encipherment", "data_encipherment", "key_agreement"), False
        )
        usage |= dict.fromkeys(("content_commitment", "encipher_only", "decipher_only"), False)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(_FROM)
            .not_valid_after(_UNTIL)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(digital_signature=True, **usage), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        return cls(key, builder.sign(key, SHA256()))

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)


def _private(key: RSAPrivateKey | Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _signed_update(name: str, moment: datetime, pair: _Pair, signer: _Pair) -> bytes:
    content = signature_list(pair.der)
    builder = PKCS7SignatureBuilder().set_data(to_be_signed(name, moment, content))
    message = builder.add_signer(signer.certificate, signer.key, SHA256()).sign(Encoding.DER, _DETACHED)
    return update(moment, content, message[_WRAPPING:])
