"""The bill of materials as CycloneDX 1.6 JSON, made by CycloneDX's own library."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.bom_ref import BomRef
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import LicenseExpression
from cyclonedx.model.tool import ToolRepository
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from builder.data.bill import Bill, Part
from builder.data.contents import FileEntry
from builder.data.licence import NOASSERTION
from builder.foundation.digest import canonical_json

# Serial numbers grow from the image's digests below this.
_NAMESPACE = uuid.UUID("6c696368-656e-5462-8f6d-63796f6e6564")
_ROLES = {
    "kernel": ComponentType.OPERATING_SYSTEM,
    "firmware": ComponentType.FIRMWARE,
    "driver": ComponentType.DEVICE_DRIVER,
}
_KINDS = {
    "deb": ComponentType.LIBRARY,
    "wheel": ComponentType.LIBRARY,
    "model": ComponentType.MACHINE_LEARNING_MODEL,
    "overlay": ComponentType.FILE,
    "tool": ComponentType.APPLICATION,
}


def cyclonedx_text(bill: Bill) -> str:
    """The document: the same bytes for the same bill."""
    image = Component(
        type=ComponentType.OPERATING_SYSTEM,
        name=bill.profile,
        version=bill.lock[:12],
        bom_ref=BomRef("image"),
        hashes=_sums(bill.image),
        properties=[Property(name="lichen:architecture", value=bill.architecture)],
    )
    tools = [_component(part) for part in bill.parts if part.kind == "tool"]
    inside = [_component(part) for part in bill.parts if part.kind != "tool"]
    bom = Bom(
        serial_number=uuid.uuid5(_NAMESPACE, f"{bill.lock} {bill.image}"),
        metadata=BomMetaData(
            timestamp=datetime.fromtimestamp(bill.epoch, UTC),
            component=image,
            tools=ToolRepository(components=tools),
        ),
        components=[*inside, *(_file(entry) for entry in bill.files)],
    )
    bom.register_dependency(image, [*bom.components])
    return canonical_json(json.loads(JsonV1Dot6(bom).output_as_string()))


def _component(part: Part) -> Component:
    licences = [] if part.licence == NOASSERTION else [LicenseExpression(part.licence)]
    return Component(
        type=_ROLES.get(part.role, _KINDS[part.kind]),
        name=part.name,
        version=part.version,
        bom_ref=BomRef(f"{part.kind}:{part.name}"),
        hashes=_sums(part.sha256),
        licenses=licences,
        purl=PackageURL.from_string(part.purl) if part.purl else None,
        properties=list(_properties(part)),
    )


def _properties(part: Part) -> Iterator[Property]:
    yield Property(name="lichen:kind", value=part.kind)
    if part.source:
        yield Property(name="lichen:source", value=part.source)
    if part.note:
        yield Property(name="lichen:note", value=part.note)


def _file(entry: FileEntry) -> Component:
    return Component(
        type=ComponentType.FILE,
        name=entry.path,
        bom_ref=BomRef(f"file:{entry.path}"),
        hashes=_sums(entry.sha256),
    )


def _sums(digest: str | None) -> list[HashType]:
    return [HashType(alg=HashAlgorithm.SHA_256, content=digest)] if digest else []
