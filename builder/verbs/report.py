"""``lichen report``: one HTML file beside the image folder that tells everything known about the image."""

from __future__ import annotations

from pathlib import Path

from builder.foundation.atomic import write_atomically
from builder.foundation.errors import LichenError
from builder.foundation.workbench import Workbench
from builder.steps.report import gather, page
from builder.verbs.build import find_image


def report(workbench: Workbench, name: str, architecture: str | None = None) -> Path:
    """Write the report of a profile's built image; returns its path.

    Raises:
        InputError: the profile is wrong, its image is not built, or a file of the image or beside it is damaged.
        LichenError: the report cannot be written.
    """
    return write_report(find_image(workbench, name, architecture))


def write_report(image: Path) -> Path:
    """Write the report of an image folder; returns its path.

    Raises:
        InputError, LichenError: as :func:`report`.
    """
    path = report_path(image)
    write_atomically(path, page(gather(image)))
    return path


def refresh_report(workbench: Workbench, image: Path) -> None:
    """Write the report anew after a build, a test or a verification, whose own result counts: a failure is a note."""
    try:
        write_report(image)
    except LichenError as error:
        for problem in error.problems:
            workbench.progress.note(f"no new report: {problem.what} ({problem.where}): {problem.why}")


def report_path(image: Path) -> Path:
    """Where the report of an image folder lies."""
    return image.with_name(f"{image.name}.report.html")
