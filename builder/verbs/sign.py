"""``lichen sign``: a stage of its own after building, so that people without the key can compare images."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from builder.data.manifest import ENVELOPE, PROVENANCE, SIGNATURE, SUMS
from builder.foundation.atomic import disk_error
from builder.foundation.errors import LichenError
from builder.foundation.making import alone, made_anew
from builder.foundation.progress import step
from builder.foundation.workbench import Workbench
from builder.steps.signing import Signer, envelope_text, read_signer
from builder.verbs.build import find_image
from builder.verbs.inspect import inspect_image


@dataclass(frozen=True)
class Signed:
    """A signed image folder and the name of the key."""

    folder: Path
    key_id: str


def sign(workbench: Workbench, name: str, architecture: str | None = None, *, key: Path) -> Signed:
    """Sign the image of a profile's current lock with the key in a file.

    Raises:
        InputError: there is no image, or the key cannot be used.
        LichenError: the image folder is not as it was built, or cannot be written.
    """
    folder = find_image(workbench, name, architecture)
    signer = read_signer(key, [workbench.project.root, folder, workbench.cache.root])
    with step(workbench.progress, "check the image"):
        problems = inspect_image(folder).folder_problems
    if problems:
        raise LichenError(problems)
    with step(workbench.progress, "sign"):
        sign_folder(folder, signer)
    return Signed(folder, signer.key_id)


def sign_folder(folder: Path, signer: Signer) -> None:
    """Write both signatures into an image folder, in place of earlier ones: both or none.

    Raises:
        LichenError: the folder cannot be written; it is as before then.
    """
    try:
        with alone(folder), made_anew(folder) as aside:
            for path in folder.iterdir():
                if path.name not in (SIGNATURE, ENVELOPE):
                    # The very same files, gigabytes among them, under a second name for a moment.
                    os.link(path, aside / path.name, follow_symlinks=False)
            (aside / SIGNATURE).write_bytes(signer.sign((folder / SUMS).read_bytes()))
            text = envelope_text(signer, (folder / PROVENANCE).read_bytes())
            (aside / ENVELOPE).write_text(text, encoding="utf-8")
            for name in (SIGNATURE, ENVELOPE):
                (aside / name).chmod(0o644)
            aside.chmod(folder.stat().st_mode & 0o777)
    except OSError as error:
        raise disk_error(error, folder) from error
