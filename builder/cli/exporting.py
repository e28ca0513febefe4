"""The command ``export``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from builder.cli import session
from builder.cli.arguments import ArchitectureName, ProfileName
from builder.cli.output import emit_json, say, tell
from builder.cli.text import size
from builder.data.form import Form

# What to do with each form; docs/running.md tells more.
_NEXT: Mapping[Form, str] = {
    "raw": "write it to a disk: zstd -dc image.raw.zst | dd of=/dev/DISK bs=4M iflag=fullblock conv=fsync",
    "qcow2": "start it: qemu-system-… -drive if=virtio,format=qcow2,file=image.qcow2, with UEFI firmware",
    "oci": "load it: podman load -i image.oci.tar, or skopeo copy oci-archive:image.oci.tar …",
    "netboot": "serve it over HTTP and let UEFI firmware load image.efi; the machine runs from memory",
}


def export(
    context: typer.Context,
    *,
    profile: ProfileName,
    architecture: ArchitectureName = None,
    form: Annotated[Form, typer.Option("--format", help="What to make of the image.")],
    output: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where the result goes; else beside the image.")
    ] = None,
) -> None:
    """Make another form of a built image: a packed disk, a virtual machine's, a container's, or one for the network."""
    from builder.verbs import export as verb

    run = session.of(context)
    with run.workbench("export") as bench:
        made = verb.export(bench, profile, architecture, form=form, output=output)
    if run.json:
        emit_json(made.as_dict())
        return
    for name, count in made.files.items():
        say(f"{made.folder / name}  {size(count)}")
    tell(_NEXT[form])
