"""``lichen export``: a finished image in another form, for disks, other virtual machines, containers, networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.data.form import Form
from builder.data.manifest import DISK, MANIFEST, SUMS, UKI, read_manifest
from builder.foundation.atomic import disk_error
from builder.foundation.digest import digest_file
from builder.foundation.errors import LichenError, Problem
from builder.foundation.inside.blob import Blob
from builder.foundation.inuse import shared
from builder.foundation.making import alone, made_anew
from builder.foundation.progress import step
from builder.foundation.scratch import scratch_folder
from builder.foundation.toolbox import Toolbox
from builder.foundation.workbench import Workbench
from builder.steps.formats import Source, write_netboot, write_oci, write_qcow2, write_raw
from builder.steps.render import PYTHON_PREFIX
from builder.verbs.build import find_image, provide_toolbox

# What each form is made from.
_PARTS: Mapping[Form, tuple[str, ...]] = {
    "raw": (DISK,),
    "qcow2": (DISK,),
    "oci": (DISK,),
    "netboot": (DISK, UKI),
}


@dataclass(frozen=True)
class Exported:
    """An image in another form.

    Attributes:
        folder: holds the files and their ``SHA256SUMS``.
        files: name and size in bytes.
    """

    folder: Path
    form: Form
    files: Mapping[str, int]

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {"folder": str(self.folder), "format": self.form, "files": dict(self.files)}


def export(
    workbench: Workbench, name: str, architecture: str | None = None, *, form: Form, output: Path | None = None
) -> Exported:
    """Make one form of a profile's finished image, anew.

    Args:
        output: folder that gets the result, a folder too; beside the image when None.

    Raises:
        InputError: the profile is wrong, its lock is stale, or its image was not built yet or cannot have that form.
        LichenError: the image was damaged, a tool failed or the disk is full; an earlier result stays then.
    """
    with shared(workbench.cache):
        image, toolbox = find_image(workbench, name, architecture), provide_toolbox(workbench, name, architecture)
        return export_image(workbench, toolbox, image, form, output)


def export_image(
    workbench: Workbench, toolbox: Toolbox, image: Path, form: Form, output: Path | None = None
) -> Exported:
    """The same of an image folder.

    Raises:
        InputError, LichenError: as :func:`export`.
    """
    manifest = read_manifest(image / MANIFEST)
    folder = (output or image.parent).absolute() / f"{image.name}.{form}"

    def waiting() -> None:
        workbench.progress.note(f"waiting for another process that makes {folder.name}")

    try:
        with alone(folder, waiting=waiting), scratch_folder(workbench.cache.workspace) as scratch:
            source = Source(image.absolute(), manifest, toolbox, workbench.runner, scratch)
            with step(workbench.progress, "check the image"):
                _require_whole(source, form)
            with made_anew(folder) as aside, step(workbench.progress, f"write {form}"):
                _writer(form)(source, aside)
                files = _finished(aside)
    except OSError as error:
        raise disk_error(error, folder) from error
    return Exported(folder, form, files)


def _writer(form: Form) -> Callable[[Source, Path], None]:
    def oci(source: Source, folder: Path) -> None:
        # As a login shell of the machine has it, where the image has wheels.
        write_oci(source, folder, [f"{PYTHON_PREFIX}/bin"] if source.manifest.wheels else [])

    writers: Mapping[Form, Callable[[Source, Path], None]] = {
        "raw": write_raw,
        "qcow2": write_qcow2,
        "oci": oci,
        "netboot": write_netboot,
    }
    return writers[form]


def _require_whole(source: Source, form: Form) -> None:
    """Check that what is read is what was built: nobody can see damage in a compressed copy.

    Raises:
        LichenError: a file was changed since, or is missing.
    """
    problems = []
    for name in _PARTS[form]:
        path, artefact = source.folder / name, source.manifest.artefacts[name]
        if not path.is_file() or Blob.of_file(path).digest() != artefact.sha256:
            why = f"its SHA-256 is not {artefact.sha256}, which the manifest names"
            problems.append(Problem("the image was changed", str(path), why, "build it again"))
    if problems:
        raise LichenError(problems)


def _finished(folder: Path) -> dict[str, int]:
    """Write the checksums of what is in the folder, open it for reading; name and size of each file."""
    paths = sorted(folder.iterdir())
    (folder / SUMS).write_text("".join(f"{digest_file(path)}  {path.name}\n" for path in paths))
    for path in folder.iterdir():
        path.chmod(0o644)
    folder.chmod(0o755)
    return {path.name: path.stat().st_size for path in paths}
