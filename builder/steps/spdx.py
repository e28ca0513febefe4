"""The bill of materials as SPDX 2.3 JSON, made and checked by SPDX's own library."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from license_expression import get_spdx_licensing
from spdx_tools.spdx.jsonschema.document_converter import DocumentConverter
from spdx_tools.spdx.model import (
    Actor,
    ActorType,
    Checksum,
    ChecksumAlgorithm,
    CreationInfo,
    Document,
    ExternalPackageRef,
    ExternalPackageRefCategory,
    ExtractedLicensingInfo,
    File,
    Package,
    PackagePurpose,
    Relationship,
    RelationshipType,
    SpdxNoAssertion,
)
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from builder.data.bill import SPDX, Bill, Part
from builder.data.contents import FileEntry
from builder.data.licence import NOASSERTION, REF, references
from builder.foundation.digest import canonical_json
from builder.foundation.errors import LichenError, Problem

_DOCUMENT = "SPDXRef-DOCUMENT"
_IMAGE = "SPDXRef-image"
_PURPOSES = {
    "kernel": PackagePurpose.OPERATING_SYSTEM,
    "firmware": PackagePurpose.FIRMWARE,
    "driver": PackagePurpose.DEVICE,
}
_MOST_TOLD = 5


def spdx_text(bill: Bill) -> str:
    """The document: the same bytes for the same bill.

    Raises:
        LichenError: SPDX's library finds it against the rules.
    """
    document = _document(bill)
    if messages := validate_full_spdx_document(document):
        why = "\n".join(message.validation_message for message in messages[:_MOST_TOLD])
        remedy = "report this, with the profile's lock"
        raise LichenError(Problem("the bill of materials breaks the rules of SPDX", SPDX, why, remedy))
    return canonical_json(DocumentConverter().convert(document))


def _document(bill: Bill) -> Document:
    packages = [_image(bill), *(_package(part) for part in bill.parts)]
    files = [_file(entry) for entry in bill.files]
    identity = f"{bill.profile}.{bill.architecture}-{bill.lock}"
    creation = CreationInfo(
        spdx_version="SPDX-2.3",
        spdx_id=_DOCUMENT,
        name=f"{bill.profile}.{bill.architecture}",
        # A name, not a place: nothing can be had there.
        document_namespace=f"urn:lichen:sbom:{identity}-{bill.image}",
        creators=[Actor(ActorType.TOOL, f"lichen-{bill.lichen}")],
        created=datetime.fromtimestamp(bill.epoch, UTC).replace(tzinfo=None),
    )
    licences = sorted({name for part in bill.parts for name in references(part.licence)})
    return Document(
        creation_info=creation,
        packages=packages,
        files=files,
        relationships=list(_relationships(bill)),
        extracted_licensing_info=[_extracted(name) for name in licences],
    )


def _image(bill: Bill) -> Package:
    return Package(
        spdx_id=_IMAGE,
        name=bill.profile,
        version=bill.lock[:12],
        download_location=SpdxNoAssertion(),
        files_analyzed=False,
        checksums=[Checksum(ChecksumAlgorithm.SHA256, bill.image)],
        comment=f"Disk image for {bill.architecture}; the version is the beginning of the lock's digest.",
        primary_package_purpose=PackagePurpose.OPERATING_SYSTEM,
    )


def _package(part: Part) -> Package:
    urls = [part.purl] if part.purl else []
    return Package(
        spdx_id=_identifier(part),
        name=part.name,
        version=part.version,
        download_location=SpdxNoAssertion(),  # locks name no hosts
        files_analyzed=False,
        checksums=[Checksum(ChecksumAlgorithm.SHA256, part.sha256)] if part.sha256 else [],
        source_info=f"built from Debian source package {part.source}" if part.source else None,
        license_concluded=SpdxNoAssertion(),
        license_declared=_expression(part.licence),
        comment=part.note or None,
        external_references=[
            ExternalPackageRef(ExternalPackageRefCategory.PACKAGE_MANAGER, "purl", url) for url in urls
        ],
        primary_package_purpose=_PURPOSES.get(part.role),
    )


def _identifier(part: Part) -> str:
    # A plus is no letter of SPDX's identifiers, and two names must stay two.
    return f"SPDXRef-{part.kind}-" + re.sub(r"[^A-Za-z0-9.-]", lambda match: f"-x{ord(match[0]):x}-", part.name)


def _file(entry: FileEntry) -> File:
    sums = [(ChecksumAlgorithm.SHA1, entry.sha1), (ChecksumAlgorithm.SHA256, entry.sha256)]
    return File(
        name=f".{entry.path}",
        spdx_id=_file_identifier(entry),
        checksums=[Checksum(algorithm, value) for algorithm, value in sums if value],
    )


def _file_identifier(entry: FileEntry) -> str:
    return f"SPDXRef-file-{sha256(entry.path.encode()).hexdigest()[:20]}"


def _relationships(bill: Bill) -> Iterator[Relationship]:
    yield Relationship(_DOCUMENT, RelationshipType.DESCRIBES, _IMAGE)
    for part in bill.parts:
        if part.kind == "tool":
            yield Relationship(_identifier(part), RelationshipType.BUILD_TOOL_OF, _IMAGE)
        else:
            yield Relationship(_IMAGE, RelationshipType.CONTAINS, _identifier(part))
    for entry in bill.files:
        yield Relationship(_file_identifier(entry), RelationshipType.FILE_ADDED, _IMAGE)


@functools.cache
def _licensing() -> Any:
    return get_spdx_licensing()


def _expression(licence: str) -> Any:
    return SpdxNoAssertion() if licence == NOASSERTION else _licensing().parse(licence)


def _extracted(name: str) -> ExtractedLicensingInfo:
    plain = name.removeprefix(REF)
    told = f"What a package's own copyright file or metadata calls {plain!r}; the text is there."
    return ExtractedLicensingInfo(license_id=name, license_name=plain, extracted_text=told)
