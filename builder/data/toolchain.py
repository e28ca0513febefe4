"""What every build uses besides the packages of the profile: suites, tools tree, initrd, mkosi.

Changing anything here changes the resolution digest and asks for a new lock.
"""

from __future__ import annotations

from builder.data.model import Frozen
from builder.data.profile import Architecture, Layout, Profile

DEBIAN_ARCHIVES = ("debian", "debian-security")


class Suite(Frozen):
    """A suite of an archive that versions are chosen from."""

    archive: str
    name: str
    components: tuple[str, ...] = ("main",)

    @property
    def label(self) -> str:
        """What a person calls it; those of vendors' repositories may have the name of one of Debian's."""
        return self.name if self.archive in DEBIAN_ARCHIVES else f"{self.archive}:{self.name}"


def release_suites(profile: Profile) -> tuple[Suite, ...]:
    """The suites of a profile's release, as Debian recommends them to its users, with the profile's components."""
    release, components = profile.suite, profile.release_components
    return (
        Suite(archive="debian", name=release, components=components),
        Suite(archive="debian", name=f"{release}-updates", components=components),
        Suite(archive="debian-security", name=f"{release}-security", components=components),
    )


def repository_suites(profile: Profile) -> tuple[Suite, ...]:
    """The suites of the repositories that a profile names besides Debian's, by name."""
    return tuple(
        Suite(archive=name, name=suite, components=repository.components)
        for name, repository in sorted(profile.repositories.items())
        for suite in repository.suites
    )


# trixie carries mkosi 25; the assembler is 27 and comes, alone, from the next release. It is one
# architecture-independent package whose Python is run from the store, nothing of that suite enters an image.
MKOSI_SUITE = Suite(archive="debian", name="forky")
MKOSI_PACKAGE = "mkosi"

# The machine that builds: tools run natively, whatever the architecture of the image.
BUILD_ARCHITECTURE: Architecture = "amd64"

# What mkosi calls inside the tools tree (its manual, section ToolsTree=), disk tools for tests, and the other clock of
# `lichen verify`.
TOOLS_PACKAGES = (
    "apt",
    "apt-utils",
    "ca-certificates",
    "cpio",
    "debian-archive-keyring",
    "dosfstools",
    "e2fsprogs",
    "erofs-utils",
    "fdisk",
    "jq",
    "kmod",
    "libarchive-tools",
    "libcryptsetup12",
    "libfaketime",
    "libfdisk1",
    "libseccomp2",
    "libtss2-dev",
    "mount",
    "mtools",
    "openssl",
    "python3",
    "python3-cryptography",
    "python3-pefile",
    "qemu-utils",
    "systemd",
    "systemd-boot-efi",
    "systemd-boot-tools",
    "systemd-container",
    "systemd-repart",
    "systemd-ukify",
    "util-linux",
    "xz-utils",
    "zstd",
)

# What compiles kernels and their modules, natively for every architecture. mkosi runs in this tree, which it asks for
# apt and a few tools more. All of it is the release's own, for cross builds too.
_TOOLCHAIN_PACKAGES = (
    "apt",
    "bc",
    "bison",
    "ccache",
    "cpio",
    "debian-archive-keyring",
    "flex",
    "gcc",
    "kmod",
    "libc6-dev",
    "libelf-dev",
    "libfaketime",
    "libssl-dev",
    "make",
    "openssl",
    "pahole",
    "perl",
    "python3",
    "rsync",
    "util-linux",
    "xz-utils",
    "zstd",
)
# GNU triplets, which name the cross compilers and the programs in them.
TRIPLETS: dict[Architecture, str] = {
    "amd64": "x86_64-linux-gnu",
    "arm64": "aarch64-linux-gnu",
    "riscv64": "riscv64-linux-gnu",
}


def toolchain_packages(architecture: Architecture) -> tuple[str, ...]:
    """Packages of the tree that compiles kernels for ``architecture``."""
    # hexdump, of bsdextrautils, reads sizes when such a kernel is packed into an EFI program (Makefile.zboot).
    cross = () if architecture == BUILD_ARCHITECTURE else (f"gcc-{TRIPLETS[architecture]}", "bsdextrautils")
    return tuple(sorted((*_TOOLCHAIN_PACKAGES, *cross)))


# What DKMS patches sources with. It is locked alone and run from where it is unpacked: were it in the toolchain, a
# profile with a driver would have another kernel than one without.
PATCH_PACKAGE = "patch"

# What compiles the overlays' programs for the kernel's BPF: clang writes one code for every architecture. bpftool tells
# the kernel's types and libbpf-dev brings the headers; which libbpf loads the programs is the image's matter.
BPF_PACKAGES = (
    "apt",
    "bpftool",
    "clang-19",
    "debian-archive-keyring",
    "libbpf-dev",
    "python3",
    "util-linux",
    "zstd",
)

# QEMU and its firmware for images of each architecture; on another than the machine's own, also the emulator that
# packages' scripts run on.
MACHINE_PACKAGES: dict[Architecture, tuple[str, ...]] = {
    "amd64": ("ovmf", "qemu-system-x86"),
    "arm64": ("qemu-efi-aarch64", "qemu-system-arm", "qemu-user"),
    "riscv64": ("qemu-efi-riscv64", "qemu-system-riscv", "qemu-user"),
}


def tools_packages(architecture: Architecture) -> tuple[str, ...]:
    """What the tools tree is asked to have for images of ``architecture``, sorted."""
    return tuple(sorted({*TOOLS_PACKAGES, *MACHINE_PACKAGES[architecture]}))


# What these packages bring for other machines: emulators of thirty architectures (half a gigabyte), padded firmware.
_EMULATORS = (
    "/usr/bin/qemu-[hlmopx]*",
    "/usr/bin/qemu-i386",
    "/usr/bin/qemu-s[hp]*",
    "/usr/bin/qemu-s390x",
)
UNUSED_TOOLS: dict[Architecture, tuple[str, ...]] = {
    "amd64": (),
    "arm64": (
        *_EMULATORS,
        "/usr/bin/qemu-a[!a]*",
        "/usr/bin/qemu-aarch64_be",
        "/usr/bin/qemu-riscv*",
        "/usr/share/AAVMF/AAVMF_CODE.secboot*",
        "/usr/share/AAVMF/AAVMF_VARS.*.fd",
    ),
    "riscv64": (*_EMULATORS, "/usr/bin/qemu-a*", "/usr/bin/qemu-riscv32"),
}

# Enough to find, check and mount the root partition, and an emergency shell to see why it failed.
_INITRD_PACKAGES = (
    "bash",
    "dmsetup",
    "e2fsprogs",
    "kmod",
    "libcryptsetup12",
    "libfdisk1",
    "libseccomp2",
    "mount",
    "procps",
    "systemd",
    "systemd-sysv",
    "udev",
    "util-linux",
)
# And what opens a verity device, and lets the state partition grow.
_IMMUTABLE_PACKAGES = ("systemd-cryptsetup", "systemd-repart")


def initrd_packages(layout: Layout) -> tuple[str, ...]:
    """What the initrd of an image of that layout is asked to have, sorted."""
    return tuple(sorted((*_INITRD_PACKAGES, *(_IMMUTABLE_PACKAGES if layout == "immutable" else ()))))


# What every bootable image has, whatever its profile says: mkosi needs the boot stub, apt keeps the image mendable.
IMAGE_PACKAGES = ("apt", "ca-certificates", "systemd", "systemd-boot-efi", "systemd-sysv", "udev")

# Python of the release, for which wheels are resolved.
PYTHON_VERSIONS = {"trixie": "3.13"}
WHEEL_PLATFORMS: dict[Architecture, str] = {
    "amd64": "x86_64-manylinux_2_40",
    "arm64": "aarch64-manylinux_2_40",
    "riscv64": "riscv64-unknown-linux",
}
