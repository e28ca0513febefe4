"""``lichen report``: one HTML file beside the image folder that tells everything known about the image.

``OUT/IMAGE.report.html`` is made from ``OUT/IMAGE/``, ``OUT/IMAGE.test/`` and ``OUT/IMAGE.verify.json``, and replaced
whole. It holds nothing that those do not say, so the same files give the same report.
"""

from __future__ import annotations

from pathlib import Path

from builder.foundation.atomic import write_atomically
from builder.foundation.errors import LichenError
from builder.foundation.workbench import Workbench
from builder.steps.report import gather, page


def write_report(image: Path) -> Path:
    """Write the report of an image folder; returns its path.

    Raises:
        InputError: not an image folder, or a file of it or beside it is damaged; every one is named.
        LichenError: the report cannot be written.
    """
    path = image.with_name(f"{image.name}.report.html")
    write_atomically(path, page(gather(image)))
    return path


def refresh_report(workbench: Workbench, image: Path) -> None:
    """Write the report anew after a build, a test or a verification, whose own result counts: a failure is a note."""
    try:
        write_report(image)
    except LichenError as error:
        for problem in error.problems:
            workbench.progress.note(f"no new report: {problem.what} ({problem.where}): {problem.why}")
