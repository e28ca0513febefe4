"""Files with private keys: read only where nobody else can, and nothing of them is published."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path

from builder.foundation.errors import InputError, Problem

UNUSABLE = "this key cannot be used for signing"


def read_key_file(path: Path, forbidden: Sequence[Path], make_one: str) -> bytes:
    """The content of a file with a private key.

    Args:
        forbidden: folders in which no key may lie, since what is there gets published.
        make_one: how to make such a key, for the error.

    Raises:
        InputError: it cannot be read, others can read it, or it lies in a forbidden folder. No word of it is in the
            error.
    """
    try:
        real = path.resolve(strict=True)
        mode = real.stat().st_mode
        content = real.read_bytes()
    except OSError as error:
        raise InputError(Problem("the key cannot be read", str(path), error.strerror or "", make_one)) from None
    if inside := next((folder for folder in forbidden if real.is_relative_to(folder.resolve())), None):
        remedy = "keep keys elsewhere: what is there is committed, published or shared"
        raise InputError(Problem(UNUSABLE, str(path), f"it lies in {inside}", remedy))
    if stat.S_IMODE(mode) & 0o077:
        why = f"its permissions are {stat.S_IMODE(mode):04o}: others on this machine can use it"
        raise InputError(Problem(UNUSABLE, str(path), why, f"run `chmod 600 {path}`"))
    return content
