"""Profiles: what a person wants, as one frozen model after all parents are merged."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from builder.data.model import Frozen, Name, Names, Packages, Size, Strings, _tuple

Architecture = Literal["amd64", "arm64", "riscv64"]


class Image(Frozen):
    """How the disk of the image is made."""

    hostname: Name = Field(description="host name of the machine")
    root_filesystem: Literal["ext4"] = Field("ext4", description="file system of the root partition")
    root_size: Size = Field("4G", description="size of the root partition, as in 4G; the image file is sparse")


class Kernel(Frozen):
    """Which kernel boots the image, and with what arguments."""

    package: str = Field("linux-image-amd64", pattern=r"^linux-image-[a-z0-9+.-]+$", description="Debian package")
    command_line: Strings = Field((), description="kernel arguments, in order")


class Profile(Frozen):
    """``profiles/NAME.yaml``, parents merged in."""

    description: str = Field(min_length=1)
    abstract: bool = Field(False, description="a parent only: it is never built itself")
    extends: Names = Field(
        (), description="parents, merged in this order: mappings deep, lists appended, else replaced"
    )
    architectures: Annotated[tuple[Architecture, ...], BeforeValidator(_tuple)] = Field(
        (), description="architectures that the profile is built for"
    )
    suite: Literal["trixie"] = Field("trixie", description="Debian release")
    image: Image
    kernel: Kernel = Kernel()
    overlays: Names = Field((), description="overlays, in the order in which their files are laid down")
    packages: Packages = Field((), description="Debian packages besides those of the overlays")
    options: dict[Name, dict[str, Any]] = Field({}, description="values for options that the overlays declare")
