"""The last steps of a build: is inside what was locked? Then manifest, checksums, and the rename into place."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from builder import __version__
from builder.data.dpkg import installed
from builder.data.lock import Deb, Lock
from builder.data.manifest import LOG, MANIFEST, PROVENANCE, SUMS, Artefact, Manifest
from builder.data.recipe import Recipe
from builder.foundation.atomic import disk_error
from builder.foundation.digest import CHUNK, digest_bytes
from builder.foundation.errors import LichenError, Problem
from builder.foundation.making import made_anew
from builder.foundation.sparse import extents

# Outputs of mkosi that are the image's artefacts, and the names they get.
ARTEFACTS = {"image.raw": "image.raw", "image.efi": "image.efi"}
# Tools whose version decides bytes of an image, or how it boots in tests.
_NAMED_TOOLS = (
    *("apt", "dosfstools", "dpkg", "e2fsprogs", "erofs-utils", "mtools", "ovmf", "qemu-system-x86"),
    *("systemd-boot-efi", "systemd-repart", "systemd-ukify", "zstd"),
)


def installed_packages(root: Path) -> dict[str, tuple[str, str]]:
    """Name of every installed package of the tree with its version and architecture, from dpkg's own database."""
    return installed((root / "var/lib/dpkg/status").read_text(encoding="utf-8"))


def require_installed(root: Path, lock: Lock) -> None:
    """Check that exactly the locked packages are installed in the tree.

    Raises:
        LichenError: names every package that is missing, not locked, or of another version.
    """
    locked = {deb.name: (deb.version, deb.architecture) for deb in lock.used_by("image")}
    found = installed_packages(root)
    nothing = ("nothing",)
    problems = [
        Problem(
            f"installed and locked packages differ: {name}",
            str(root),
            f"locked {' '.join(locked.get(name, nothing))}, installed {' '.join(found.get(name, nothing))}",
            "report this: a package removed another one, or mkosi installed one by itself",
        )
        for name in sorted({*locked, *found})
        if locked.get(name) != found.get(name)
    ]
    if problems:
        raise LichenError(problems)


@dataclass(frozen=True)
class Papers:
    """How to write what goes with an image.

    Attributes:
        describe: from the artefacts so far, name and text of further ones that tell about them.
        attest: from the manifest of all artefacts, the provenance.
        built: packages that were built for this image and so are in no lock.
        proceed: asked often; raises when the image is no longer wanted.
    """

    describe: Callable[[Mapping[str, Artefact]], Mapping[str, str]]
    attest: Callable[[Manifest], str]
    built: tuple[Deb, ...] = ()
    proceed: Callable[[], None] = lambda: None


def finish_image(
    recipe: Recipe, lock: Lock, key: str, tools: Path, output: Path, papers: Papers, log: Path, folder: Path
) -> Manifest:
    """Turn mkosi's ``output`` into the image folder ``folder``, complete or absent.

    The caller is alone with ``folder`` (:func:`builder.foundation.making.alone`).

    Args:
        key: the image component's key.
        tools: root of the tools tree.
        log: the build's log, kept beside the artefacts. It differs from build to build and has no checksum.

    Raises:
        LichenError: an output is missing, the disk is full, or whatever the papers raise; ``folder`` is untouched then.
    """
    try:
        with made_anew(folder) as aside:
            artefacts: dict[str, Artefact] = {}
            for made, name in ARTEFACTS.items():
                if not (output / made).is_file():
                    raise LichenError(Problem(f"mkosi made no {made}", str(output), "", f"see {log}"))
                digest, size = _move(output / made, aside / name, papers.proceed)
                artefacts[name] = Artefact(size=size, sha256=digest)
            papers.proceed()
            for name, text in papers.describe(artefacts).items():
                artefacts[name] = _written(aside / name, text)
            manifest = _manifest(recipe, lock, key, tools, artefacts, papers.built)
            sums = {name: artefact.sha256 for name, artefact in artefacts.items()}
            sums[MANIFEST] = _written(aside / MANIFEST, manifest.text()).sha256
            sums[PROVENANCE] = _written(aside / PROVENANCE, papers.attest(manifest)).sha256
            _written(aside / SUMS, "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items())))
            shutil.copyfile(log, aside / LOG)
            for path in aside.iterdir():
                path.chmod(0o644)
            papers.proceed()
    except OSError as error:
        raise disk_error(error, folder) from error
    return manifest


def _written(path: Path, text: str) -> Artefact:
    content = text.encode()
    path.write_bytes(content)
    return Artefact(size=len(content), sha256=digest_bytes(content))


def _move(source: Path, destination: Path, proceed: Callable[[], None]) -> tuple[str, int]:
    """Move a sparse file, return its SHA-256 and size in bytes; holes are hashed as zeros without being read."""
    if source.stat().st_dev == destination.parent.stat().st_dev:
        source.rename(destination)
    else:
        _copy_sparse(source, destination, proceed)
    digest = hashlib.sha256()
    zeros = bytes(CHUNK)
    size = destination.stat().st_size
    with destination.open("rb") as stream:
        for start, end, data in extents(stream.fileno(), size):
            position = start
            while position < end:
                proceed()
                count = min(CHUNK, end - position)
                digest.update(os.pread(stream.fileno(), count, position) if data else zeros[:count])
                position += count
    return digest.hexdigest(), size


def _copy_sparse(source: Path, destination: Path, proceed: Callable[[], None]) -> None:
    size = source.stat().st_size
    with source.open("rb") as reader, destination.open("wb") as writer:
        writer.truncate(size)
        for start, end, data in extents(reader.fileno(), size):
            if data:
                os.lseek(reader.fileno(), start, os.SEEK_SET)
                writer.seek(start)
                remaining = end - start
                while remaining:
                    proceed()
                    remaining -= writer.write(os.read(reader.fileno(), min(CHUNK, remaining)))


def _manifest(
    recipe: Recipe, lock: Lock, key: str, tools: Path, artefacts: dict[str, Artefact], built: tuple[Deb, ...]
) -> Manifest:
    versions = installed_packages(tools)
    named = {name: versions[name][0] for name in _NAMED_TOOLS if name in versions}
    (mkosi,) = lock.used_by("mkosi")
    locked = [deb for deb in lock.debs if {"image", "initrd"} & set(deb.uses)]
    inside = tuple(sorted((*locked, *built), key=lambda deb: (deb.name, deb.version, deb.architecture)))
    return Manifest(
        profile=recipe.name,
        architecture=lock.architecture,
        hostname=recipe.profile.image.hostname,
        lock=lock.digest,
        image=key,
        source_date_epoch=lock.source_date_epoch,
        overlays=tuple(item.name for item in recipe.overlays),
        options=recipe.options,
        ports=recipe.ports,
        layout=recipe.profile.image.layout,
        root_filesystem=recipe.profile.image.root_filesystem,
        kernel=_kernel(inside),
        kernel_settings=_kernel_settings(recipe, lock),
        tools={**named, "lichen": __version__, "mkosi": mkosi.version},
        packages=inside,
        wheels=tuple(wheel for wheel in lock.wheels if "image" in wheel.uses),
        models=lock.models,
        artefacts=artefacts,
    )


def _kernel(debs: Sequence[Deb]) -> str:
    """The kernel's release: the versioned ``linux-image-`` package's name tells it."""
    releases = [deb.name.removeprefix("linux-image-") for deb in debs if deb.name.startswith("linux-image-")]
    return max(releases, key=lambda name: (name[:1].isdigit(), name), default="")


def _kernel_settings(recipe: Recipe, lock: Lock) -> dict[str, str]:
    settings = recipe.kernel.settings(lock.architecture) if recipe.kernel else ()
    return {
        item.symbol: f"{item.value} or y" if item.built_in_will_do else item.value for item in settings if item.required
    }
