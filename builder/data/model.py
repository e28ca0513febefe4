"""What all models share: frozen, unknown keys refused."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, StringConstraints

SIZE = re.compile(r"([1-9][0-9]*)([KMGT]?)")
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class Frozen(BaseModel):
    """Base of every model: immutable, and a key it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def size_in_bytes(text: str) -> int:
    """Bytes meant by ``text`` such as ``512M`` (powers of 1024, as systemd and QEMU read them).

    Raises:
        ValueError: not a size.
    """
    match = SIZE.fullmatch(text)
    if not match:
        raise ValueError("not a size: write a whole number and K, M, G or T, as in 512M")
    return int(match[1]) * UNITS[match[2]]


def _size(text: str) -> str:
    size_in_bytes(text)
    return text


def _tuple(value: Any) -> Any:
    # YAML has lists, frozen models want tuples; anything else is left for pydantic to refuse.
    return tuple(value) if isinstance(value, list) else value


Size = Annotated[str, AfterValidator(_size)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=64)]
DebianPackage = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9+.-]+$")]
Strings = Annotated[tuple[str, ...], BeforeValidator(_tuple)]
Names = Annotated[tuple[Name, ...], BeforeValidator(_tuple)]
Packages = Annotated[tuple[DebianPackage, ...], BeforeValidator(_tuple)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
