"""Files of arrays that are safe to read: never pickle, complete or refused, of a stated kind and version."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

LARGEST = 64 << 20  # bytes; ours have a few million
DIGEST = hashlib.sha256().digest_size * 2


class SealError(Exception):
    """The file is not one that we wrote; the message names it and says what is wrong."""


def write_sealed(path: Path, seal: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Put arrays into a file at once: a reader, or the next start after a power failure, gets old or new.

    Args:
        seal: kind and version, one word.

    Raises:
        OSError: it cannot be written.
    """
    data = sealed(seal, arrays)
    new = path.with_suffix(".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def sealed(seal: str, arrays: Mapping[str, np.ndarray]) -> bytes:
    """The bytes of such a file: kind and digest in the first line, then numpy's npz."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    body = buffer.getvalue()
    return f"{seal} {_digest(seal, body)}\n".encode() + body


def read_sealed(path: Path, seal: str) -> Mapping[str, np.ndarray]:
    """Read what :func:`write_sealed` wrote.

    Raises:
        FileNotFoundError: there is none.
        SealError: it cannot be read, was changed, or is of another kind or version.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise SealError(f"{path}: {error.strerror}") from error
    try:
        return unsealed(data, seal)
    except SealError as error:
        raise SealError(f"{path}: {error}") from error


def unsealed(data: bytes, seal: str) -> Mapping[str, np.ndarray]:
    """The arrays in the bytes of such a file.

    Raises:
        SealError: they were changed, or are of another kind or version.
    """
    head, _, body = data.partition(b"\n")
    kind, _, digest = head.decode("ascii", "replace").partition(" ")
    if len(data) > LARGEST:
        raise SealError(f"larger than {LARGEST >> 20} MiB, so none of ours")
    if len(digest) != DIGEST or not kind.isprintable():
        raise SealError("none of ours, or its first line is damaged")
    if kind != seal:
        raise SealError(f"is {kind[:40]}; this version reads {seal}")
    if digest != _digest(seal, body):
        raise SealError("damaged: its contents do not fit its digest")
    try:
        with np.load(io.BytesIO(body), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (ValueError, KeyError, EOFError, OSError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise SealError(f"cannot be understood: {error}") from error


def _digest(seal: str, body: bytes) -> str:
    return hashlib.sha256(seal.encode() + b"\n" + body).hexdigest()
