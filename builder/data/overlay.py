"""Overlays: a reusable part of an image, alone in its folder ``overlays/NAME/``.

``overlay.yaml`` is described by :class:`Overlay`; ``tree/`` holds files for the image, those ending in ``.j2``
rendered by Jinja2; ``drivers/PACKAGE/`` holds patches for a driver's sources; ``bpf/`` holds programs for the
kernel's BPF in C; ``tests/`` holds testinfra tests that hold for any image with this overlay.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from builder.data.model import DebianPackage, Frozen, Names, Packages, Strings, _tuple, size_in_bytes

OptionValue = str | int | float | bool | tuple[str, ...]
_KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "size": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "list": (list, tuple),
}


class Option(Frozen):
    """A declared option of an overlay: its type, its default and what it is for."""

    type: Literal["string", "integer", "number", "boolean", "size", "list"]
    description: str = Field(min_length=1)
    default: str | int | float | bool | Annotated[tuple[str, ...], BeforeValidator(_tuple)]
    choices: Strings | None = None
    minimum: int | float | None = None
    maximum: int | float | None = None
    pattern: str | None = Field(None, description="regular expression that the whole value (or list item) matches")

    @model_validator(mode="after")
    def _default_fits(self) -> Option:
        if self.pattern is not None:
            try:
                re.compile(self.pattern)
            except (re.error, OverflowError, RecursionError) as error:
                raise ValueError(f"pattern is not a regular expression: {error}") from None
        if complaint := self.complaint(self.default):
            raise ValueError(f"the default does not fit the option itself: {complaint}")
        return self

    def complaint(self, value: Any) -> str | None:
        """Why ``value`` does not fit this option, or None when it does."""
        kinds = _KINDS[self.type]
        if not isinstance(value, kinds) or (isinstance(value, bool) and self.type != "boolean"):
            return f"wanted {self.type}, got {type(value).__name__} {value!r}"
        if self.type == "size" and isinstance(value, str):
            try:
                size_in_bytes(value)
            except ValueError as error:
                return str(error)
        for item in value if isinstance(value, list | tuple) else (value,):
            if complaint := self._item_complaint(item):
                return complaint
        return None

    def allowed(self) -> str:
        """Which values fit, and what the option is for."""
        limits = [
            f"one of {', '.join(self.choices)}" if self.choices is not None else "",
            f"at least {self.minimum}" if self.minimum is not None else "",
            f"at most {self.maximum}" if self.maximum is not None else "",
            f"matching {self.pattern}" if self.pattern is not None else "",
            "a whole number and K, M, G or T" if self.type == "size" else "",
        ]
        return ", ".join([f"give it a value of type {self.type}", *filter(None, limits)]) + f" ({self.description})"

    def _item_complaint(self, item: Any) -> str | None:
        if isinstance(item, float) and not math.isfinite(item):
            return f"{item} is not a finite number"
        if self.type == "list" and not isinstance(item, str):
            return f"wanted a list of strings, got {type(item).__name__} {item!r} in it"
        if self.choices is not None and item not in self.choices:
            return f"{item!r} is not one of {', '.join(self.choices)}"
        if self.minimum is not None and isinstance(item, int | float) and item < self.minimum:
            return f"{item} is below the minimum of {self.minimum}"
        if self.maximum is not None and isinstance(item, int | float) and item > self.maximum:
            return f"{item} is above the maximum of {self.maximum}"
        if self.pattern is not None and isinstance(item, str) and not re.fullmatch(self.pattern, item):
            return f"{item!r} does not match {self.pattern}"
        return None


class Python(Frozen):
    """What an overlay wants in the image's one Python environment, ``/opt/ai``."""

    requirements: Strings = Field((), description="PEP 508 requirements, resolved and hash-locked by uv")
    provided: dict[str, DebianPackage] = Field(
        {}, description="Python distributions that come from Debian packages of the image; uv never resolves these"
    )


# systemd.unit(5): a name and one of the suffixes. Without a suffix a preset would match nothing, without a word.
_UNIT = r"^[A-Za-z0-9:_.\\@-]+\.(service|socket|target|timer|mount|automount|path|slice|swap)$"
Units = Annotated[tuple[Annotated[str, Field(pattern=_UNIT)], ...], BeforeValidator(_tuple)]


class Services(Frozen):
    """systemd units that the image enables or disables by preset."""

    enable: Units = ()
    disable: Units = ()


class Overlay(Frozen):
    """``overlay.yaml``: what an overlay adds to an image besides its files."""

    description: str = Field(min_length=1)
    requires: Names = Field((), description="overlays that must be in the image too")
    packages: Packages = Field((), description="Debian packages")
    python: Python = Python()
    services: Services = Services()
    kernel_fragments: Names = Field(
        (), description="fragments of kernel-configs/ that this overlay needs when the kernel is the project's own"
    )
    drivers: Packages = Field(
        (),
        description="Debian packages for DKMS: their modules are compiled for the project's own kernel, with the "
        "patches in drivers/PACKAGE/ of the overlay; the packages themselves are never installed",
    )
    modes: dict[str, Annotated[str, Field(pattern=r"^0[0-7]{3}$")]] = Field(
        {}, description="permissions of files whose mode is neither 0644 nor, if executable, 0755"
    )
    ports: Annotated[tuple[Annotated[int, Field(ge=1, le=65535)], ...], BeforeValidator(_tuple)] = Field(
        (), description="TCP ports that the overlay's tests reach"
    )
    credentials: dict[Annotated[str, Field(pattern=r"^[a-z0-9._-]+$")], str] = Field(
        {}, description="systemd credentials that the overlay reads at boot, and what each is for"
    )
    options: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], Option] = Field(
        {}, description="what a profile may set, and the templates of tree/ may use"
    )

    def said(self, *without: str) -> dict[str, Any]:
        """Everything that is said, for a digest, but for the keys ``without``.

        Of an overlay without drivers the digest is the one that it had before there were any.
        """
        return self.model_dump(mode="json", exclude={*without, *(() if self.drivers else ("drivers",))})
