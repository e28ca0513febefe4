"""Text files of an image folder (manifest, bill of materials, checksums) with signatures left out.

They name digests and sizes of files that are signed. Each such digest is replaced by that of the unsigned file, and an
object that names one loses its size; what is the same then is the same but for signatures.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from builder.foundation.digest import canonical_json

_DIGEST = re.compile(r"\b[0-9a-f]{64}\b")


def settled(name: str, text: str, bare: Mapping[str, str]) -> str:
    """The document without signed files' digests and sizes.

    Args:
        bare: SHA-256 of a signed file to the digest that stands for it without its signature.
    """
    try:
        if name.endswith(".json"):
            return canonical_json(_value(json.loads(text), bare))
        if name.endswith(".jsonl"):
            return "".join(canonical_json(_value(json.loads(line), bare)) for line in text.splitlines())
    except ValueError:
        pass  # not what its name says; compared as text
    # Checksums of detached signatures are of no file that an unsigned build has.
    lines = [line for line in text.splitlines() if not line.rstrip().endswith(".sig")]
    return "\n".join(_replaced(line, bare) for line in lines)


def _value(value: object, bare: Mapping[str, str]) -> object:
    if isinstance(value, dict):
        found = {key: _value(item, bare) for key, item in value.items()}
        if any(item in bare for item in value.values() if isinstance(item, str)):
            found.pop("size", None)
        return found
    if isinstance(value, list):
        return [_value(item, bare) for item in value]
    return _replaced(value, bare) if isinstance(value, str) else value


def _replaced(text: str, bare: Mapping[str, str]) -> str:
    return _DIGEST.sub(lambda found: bare.get(found[0], found[0]), text)
