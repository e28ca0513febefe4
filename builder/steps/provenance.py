"""Where an image comes from: an in-toto statement with SLSA's provenance (v1) about every artefact.

Holds nothing that differs between two builds of one lock: no date, no host, no run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builder.data.lock import Lock
from builder.data.manifest import MANIFEST, Manifest
from builder.foundation.digest import canonical_json, digest_bytes

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:lichen:build:image:1"


def provenance_text(manifest: Manifest, lock: Lock, components: Mapping[str, str]) -> str:
    """The statement about the artefacts of ``manifest`` and the manifest itself.

    Args:
        components: name and key of each part that the image was made from, the tools tree among them.
    """
    sums = {name: artefact.sha256 for name, artefact in manifest.artefacts.items()}
    sums[MANIFEST] = digest_bytes(manifest.text().encode())
    statement = {
        "_type": STATEMENT,
        "subject": [_described(name, digest) for name, digest in sorted(sums.items())],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "profile": manifest.profile,
                    "architecture": manifest.architecture,
                    "lock": manifest.lock,
                },
                "internalParameters": {"sourceDateEpoch": manifest.source_date_epoch, "imageKey": manifest.image},
                "resolvedDependencies": _dependencies(manifest, lock, components),
            },
            "runDetails": {"builder": {"id": f"urn:lichen:builder:{manifest.tools['lichen']}"}},
        },
    }
    return canonical_json(statement)


def _dependencies(manifest: Manifest, lock: Lock, components: Mapping[str, str]) -> list[dict[str, Any]]:
    (mkosi,) = lock.used_by("mkosi")
    found = [_described("lock", manifest.lock), _described(mkosi.filename, mkosi.sha256)]
    found += [_described(wheel.filename, wheel.sha256) for wheel in lock.wheels if "tools" in wheel.uses]
    # A component's key is the digest of its canonical inputs; all the files among them stand in the lock.
    return found + [_described(f"component:{name}", key) for name, key in sorted(components.items())]


def _described(name: str, sha256: str) -> dict[str, Any]:
    return {"name": name, "digest": {"sha256": sha256}}
