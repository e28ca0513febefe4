"""The OpenPGP public key that signs a repository's indices: a file of the project, armoured or binary."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from builder.data.profile import Repository
from builder.foundation.digest import digest_bytes
from builder.foundation.errors import InputError, Problem

_PRIMARY, _SUBKEY = "PublicKey", "PublicSubkey"
_SECRET = ("SecretKey", "SecretSubkey")


@dataclass(frozen=True)
class PublicKey:
    """One key that may sign indices.

    Attributes:
        packets: the key in binary form, exactly what was checked; apt gets this and not the file, in which something
            else may stand beside the key.
        sha256: of the file.
    """

    fingerprint: str
    packets: bytes
    sha256: str


def read_public_key(project: Path, repository: Repository, place: str) -> PublicKey:
    """The key of a repository, checked against the fingerprint that the profile names.

    Args:
        project: what the key's path is relative to.
        place: where the profile names the key, for the error.

    Raises:
        InputError: the file is missing, outside the project, no OpenPGP key, several, a private one, or another one.
    """
    path = project / repository.key
    export = f"write it anew with `gpg --armor --export {repository.fingerprint}`"

    def fault(why: str, remedy: str) -> InputError:
        return InputError(Problem("the repository's key cannot be used", place, f"{path}: {why}", remedy))

    if not path.resolve().is_relative_to(project.resolve()):
        raise fault("it lies outside the project", "copy it into the project and name it relative to that")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise fault(error.strerror or str(error), "put the vendor's public key there") from error
    try:
        kinds, fingerprints, packets = _parse(content)
    except ValueError as error:
        raise fault(f"it holds no OpenPGP key: {error}", export) from error
    if any(kind in _SECRET for kind in kinds):
        remedy = f"{export}; if the private key is yours and was ever committed, replace it"
        raise fault("it holds a private key, which must never be in a project", remedy)
    if len(fingerprints) != 1:
        found = " and ".join(fingerprints) or "none"
        raise fault(f"it must hold exactly one key, and holds {found}", export)
    if fingerprints[0] != repository.fingerprint:
        why = f"it holds the key {fingerprints[0]}, the profile names {repository.fingerprint}"
        raise fault(why, "ask the vendor which one is right, then correct the key file or the fingerprint")
    return PublicKey(fingerprints[0], packets, digest_bytes(content))


def _parse(content: bytes) -> tuple[list[str], list[str], bytes]:
    """Kinds of all packets, fingerprints of the primary keys, and the packets without armour.

    Raises:
        ValueError: these are no OpenPGP packets.
    """
    # Loaded only for profiles that name a repository.
    from pysequoia.packet import PacketPile

    try:
        packets = list(PacketPile.from_bytes(content))
    except RuntimeError as error:
        # Behind the first line is a backtrace of the library.
        raise ValueError(str(error).partition("\n")[0]) from error
    kinds = [str(packet.tag).rpartition(".")[2] for packet in packets]
    if not {_PRIMARY, _SUBKEY, *_SECRET}.intersection(kinds):
        raise ValueError("no key is in it")
    primary = [packet for packet, kind in zip(packets, kinds, strict=True) if kind == _PRIMARY]
    return kinds, [packet.fingerprint.upper() for packet in primary], b"".join(bytes(packet) for packet in packets)
