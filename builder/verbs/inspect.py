"""``lichen inspect``: is an image folder whole, do its papers agree, who signed it? Needs no project and no lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from builder.data.licence import NOASSERTION
from builder.data.manifest import (
    ENVELOPE,
    MANIFEST,
    PROVENANCE,
    SECURE_BOOT,
    SIGNATURE,
    SUMS,
    UKI,
    Manifest,
    read_manifest,
)
from builder.foundation.errors import InputError, LichenError, Problem
from builder.steps import inspection, secureboot
from builder.steps.signing import key_id, read_envelope, read_public_key, verifies

T = TypeVar("T")
State = Literal["unsigned", "good", "bad", "untrusted"]


@dataclass(frozen=True)
class Signature:
    """What is known of an image's signatures.

    Attributes:
        state: ``good``: by the key that was given; ``untrusted``: there are some and no key was given; ``bad``: not by
            that key, or only half there.
        key_id: of the key, as the envelope says; proven only when ``good``.
    """

    state: State
    key_id: str = ""
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class SecureBoot:
    """What is known of the signature that firmware asks for.

    Attributes:
        certificate: SHA-256 of the certificate that the profile names, as ``openssl x509 -fingerprint`` tells it.
        name: its subject.
        refused: why firmware that trusts it would not start the UKI; empty when it would.
    """

    certificate: str
    name: str
    refused: str = ""


@dataclass(frozen=True)
class Inspection:
    """What was found in an image folder.

    Attributes:
        folder_problems: what is wrong with the folder, whoever signed it.
        manifest: None when it cannot be read.
        files: regular files of the root file system.
        size: their bytes.
        licences: different licence expressions of its packages.
        unlicensed: packages whose licence no program can read.
        secure_boot: None when the image's profile names no certificate.
    """

    folder: Path
    signature: Signature
    folder_problems: tuple[Problem, ...] = ()
    manifest: Manifest | None = None
    files: int = 0
    size: int = 0
    licences: int = 0
    unlicensed: int = 0
    secure_boot: SecureBoot | None = None

    @property
    def problems(self) -> tuple[Problem, ...]:
        """All that is wrong."""
        return (*self.folder_problems, *self.signature.problems)

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        told: dict[str, Any] = {"folder": str(self.folder), "problems": [item.as_dict() for item in self.problems]}
        told["signature"] = {"state": self.signature.state, "key_id": self.signature.key_id}
        told["secure_boot"] = asdict(self.secure_boot) if self.secure_boot else None
        if self.manifest:
            names = ("profile", "architecture", "lock", "image", "kernel", "overlays", "tools", "source_date_epoch")
            told |= self.manifest.model_dump(mode="json", include=set(names))
            told |= {"packages": len(self.manifest.packages), "wheels": len(self.manifest.wheels)}
            told |= {"files": self.files, "size": self.size, "licences": self.licences, "unlicensed": self.unlicensed}
        return told


def inspect_image(folder: Path, key: Path | None = None) -> Inspection:
    """Check an image folder; what is wrong stands in the result.

    Args:
        key: a public key in PEM form that the signatures must be by.

    Raises:
        InputError: ``folder`` is none of an image, or the key cannot be used.
    """
    trusted = read_public_key(key) if key else None
    sums = inspection.read_sums(folder)
    problems = list(inspection.file_problems(folder, sums))

    def read(reader: Callable[[], T]) -> T | None:
        try:
            return reader()
        except InputError as error:
            problems.extend(error.problems)
            return None

    manifest = read(lambda: read_manifest(folder / MANIFEST))
    bill = read(lambda: inspection.read_bill(folder))
    entries = read(lambda: inspection.read_inside(folder)) or []
    secure_boot = read(lambda: _secure_boot(folder, sums))
    if manifest:
        problems += inspection.manifest_problems(folder, manifest, sums)
        problems += inspection.provenance_problems(folder, manifest, sums)
        problems += inspection.bill_problems(folder, bill, manifest) if bill else []
    said = [package.get("licenseDeclared", NOASSERTION) for package in bill.get("packages", ())] if bill else []
    return Inspection(
        folder=folder,
        signature=_signature(folder, trusted),
        folder_problems=tuple(problems),
        manifest=manifest,
        files=sum(entry.kind == "file" for entry in entries),
        size=sum(entry.size for entry in entries),
        licences=len({licence for licence in said if licence != NOASSERTION}),
        unlicensed=said.count(NOASSERTION),
        secure_boot=secure_boot,
    )


def _secure_boot(folder: Path, sums: Mapping[str, str]) -> SecureBoot | None:
    if SECURE_BOOT not in sums:
        return None
    try:
        pem = (folder / SECURE_BOOT).read_bytes()
        certificate, name = secureboot.described(pem)
        return SecureBoot(certificate, name, secureboot.why_refused(folder / UKI, pem))
    except (OSError, ValueError) as error:
        where = str(folder / SECURE_BOOT)
        raise InputError(Problem("the signature for Secure Boot cannot be read", where, str(error))) from error


def _signature(folder: Path, trusted: Ed25519PublicKey | None) -> Signature:
    paths = (folder / SIGNATURE, folder / ENVELOPE)
    there = [path for path in paths if os.path.lexists(path)]
    if not there:
        why = f"there is no {SIGNATURE}, and a key was given"
        problem = Problem("the image is not signed", str(folder), why, "ask whoever published it")
        return Signature("unsigned", problems=(problem,) if trusted else ())
    remedy = "do not trust this image; ask whoever published it"
    if len(there) < len(paths):
        missing = next(path for path in paths if path not in there)
        return Signature("bad", problems=(Problem("a signature is missing", str(missing), "", remedy),))
    try:
        envelope = read_envelope(paths[1].read_bytes())
        signature, signed = paths[0].read_bytes(), (folder / SUMS).read_bytes()
        stated = (folder / PROVENANCE).read_bytes()
    except OSError as error:
        return Signature("bad", problems=(Problem("a signature cannot be read", str(folder), str(error), remedy),))
    except LichenError as error:
        return Signature("bad", problems=error.problems)
    problems = []
    if envelope.payload != stated:
        why = f"{PROVENANCE} is not what was signed"
        problems.append(Problem("the signed provenance is another one", str(paths[1]), why, remedy))
    if trusted:
        why = f"given is the key {key_id(trusted)}, it says it is by {envelope.key_id}"
        valid = {paths[0]: verifies(trusted, signature, signed), paths[1]: envelope.verifies(trusted)}
        problems += [
            Problem("the signature is not by this key", str(path), why, remedy) for path in paths if not valid[path]
        ]
    state: State = "bad" if problems else "good" if trusted else "untrusted"
    return Signature(state, envelope.key_id, tuple(problems))
