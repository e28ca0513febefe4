"""The root file system as a container image: an OCI image layout in one tar, with one layer.

Format: the OCI Image Format Specification 1.1. A container runs on its host's kernel, so the image's own kernel with
its modules is left out; everything else is as in the machine.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from builder.foundation.digest import canonical_json, digest_bytes, digest_file
from builder.foundation.inside.blob import Blob
from builder.steps.formats.archive import write_archive
from builder.steps.formats.root import Node, emptied, read_root
from builder.steps.formats.source import Source

# What belongs to a machine: its kernel, and what the kernel or the runtime fills.
LEFT_OUT = ("boot", "dev", "efi", "proc", "run", "sys", "tmp", "usr/lib/modules")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # of root, as Debian's login sets it
_VARIANTS = {"arm64": {"variant": "v8"}}  # the specification names one for this architecture only, of those here
_TYPE = "application/vnd.oci.image."


class _Digesting(io.BufferedIOBase):
    """Passes on what is written, and hashes it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._state = hashlib.sha256()

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._state.update(data)
        return self._stream.write(data)

    def digest(self) -> str:
        return self._state.hexdigest()


def write_oci(source: Source, folder: Path, folders_of_programs: Sequence[str] = ()) -> None:
    """Write ``image.oci.tar``.

    Args:
        folders_of_programs: looked for programs after the usual ones.

    Raises:
        LichenError: the root file system cannot be read.
        ProcessError: zstd failed.
        OSError: the disk is full.
    """
    layout = source.scratch / "layout"
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    layer, unpacked = _layer(source, emptied(read_root(source), LEFT_OUT), blobs)
    config = _config(source, unpacked, ":".join((_PATH, *folders_of_programs)))
    manifest = _manifest(source, _blob(blobs, "config.v1+json", config), [layer])
    index = _index(source, _blob(blobs, "manifest.v1+json", manifest))
    (layout / "index.json").write_text(canonical_json(index))
    (layout / "oci-layout").write_text(canonical_json({"imageLayoutVersion": "1.0.0"}))
    with (folder / "image.oci.tar").open("wb") as stream:
        write_archive(_nodes(layout, source.manifest.source_date_epoch), stream)


def _layer(source: Source, nodes: Iterable[Node], blobs: Path) -> tuple[dict[str, Any], str]:
    """Write the layer; its descriptor, and the SHA-256 of what it unpacks to."""
    packed = source.scratch / "layer"
    command = source.toolbox.command(["zstd", "-T0", "-q", "-o", packed], writable=[source.scratch])
    with source.runner.fed(command) as stream:
        digesting = _Digesting(stream)
        write_archive(nodes, digesting)
    digest, size = digest_file(packed), packed.stat().st_size
    packed.rename(blobs / digest)
    return _descriptor("layer.v1.tar+zstd", digest, size), digesting.digest()


def _blob(blobs: Path, kind: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """Write a document under its digest; its descriptor."""
    content = canonical_json(document).encode()
    digest = digest_bytes(content)
    (blobs / digest).write_bytes(content)
    return _descriptor(kind, digest, len(content))


def _config(source: Source, unpacked: str, path: str) -> dict[str, Any]:
    manifest, created = source.manifest, _created(source)
    return {
        **_platform(source),
        "created": created,
        "config": {
            "Cmd": ["/bin/bash"],
            "Env": [f"PATH={path}"],
            "ExposedPorts": {f"{port}/tcp": {} for port in manifest.ports},
            # What systemd wants, for whoever starts the machine's services with /sbin/init; ends a shell as well.
            "StopSignal": "SIGRTMIN+3",
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{unpacked}"]},
        "history": [{"created": created, "created_by": "lichen export --format oci", "comment": manifest.lock}],
    }


def _manifest(source: Source, config: Mapping[str, Any], layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    titles = {
        "created": _created(source),
        "title": source.manifest.profile,
        "version": source.manifest.lock[:12],
    }
    return {
        "schemaVersion": 2,
        "mediaType": f"{_TYPE}manifest.v1+json",
        "config": config,
        "layers": layers,
        "annotations": {f"org.opencontainers.image.{name}": text for name, text in titles.items()},
    }


def _index(source: Source, manifest: Mapping[str, Any]) -> dict[str, Any]:
    name = f"{source.manifest.profile}:{source.manifest.lock[:12]}"
    named = {"platform": _platform(source), "annotations": {"org.opencontainers.image.ref.name": name}}
    return {"schemaVersion": 2, "mediaType": f"{_TYPE}index.v1+json", "manifests": [{**manifest, **named}]}


def _platform(source: Source) -> dict[str, str]:
    architecture = source.manifest.architecture
    return {"architecture": architecture, "os": "linux", **_VARIANTS.get(architecture, {})}


def _created(source: Source) -> str:
    return f"{datetime.fromtimestamp(source.manifest.source_date_epoch, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _descriptor(kind: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": f"{_TYPE}{kind}", "digest": f"sha256:{digest}", "size": size}


def _nodes(layout: Path, epoch: int) -> Iterator[Node]:
    """Everything in a folder that this process wrote, sorted, all of one age and owner."""
    for path in sorted(layout.rglob("*")):
        name = path.relative_to(layout).as_posix()
        if path.is_dir():
            yield Node(name, "folder", 0o755, 0, 0, epoch)
        else:
            yield Node(name, "file", 0o644, 0, 0, epoch, Blob.of_file(path))
