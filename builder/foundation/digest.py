"""Digests and canonical JSON: the identity of everything Lichen keeps."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

CHUNK = 1 << 20  # bytes read at a time


def canonical_json(value: Any) -> str:
    """``value`` as JSON with sorted keys, two-space indent and a final newline: the same text for the same data."""
    return json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def digest_bytes(data: bytes) -> str:
    """Lower-case hexadecimal SHA-256 of ``data``."""
    return hashlib.sha256(data).hexdigest()


def digest_value(value: Any) -> str:
    """SHA-256 of ``value``'s canonical JSON."""
    return digest_bytes(canonical_json(value).encode())


def digest_file(path: Path) -> str:
    """SHA-256 of the file's content.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_tree(root: Path) -> str:
    """SHA-256 over every name, kind, permission and content below ``root``, in sorted order.

    Modification times and owners do not count: two checkouts of one commit have the same digest. Only the
    executable bit of a file's mode counts, for the same reason (git keeps no other).
    """
    entries: list[list[str]] = []
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if "__pycache__" in path.parts:
            continue
        if path.is_symlink():
            entries.append([name, "link", str(path.readlink())])
        elif path.is_file():
            executable = "x" if path.stat().st_mode & 0o100 else "-"
            entries.append([name, f"file{executable}", digest_file(path)])
        elif path.is_dir():
            entries.append([name, "directory", ""])
    return digest_value(entries)
