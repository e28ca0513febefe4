"""Two image folders compared by the digests of their files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from builder.data.verification import Compared, Difference
from builder.foundation.digest import digest_file
from builder.foundation.process import Runner
from builder.foundation.toolbox import Toolbox


def compare_images(
    first: Path,
    second: Path,
    toolbox: Toolbox,
    runner: Runner,
    scratch: Path,
    *,
    strip_signatures: bool = False,
    conditions: tuple[Mapping[str, str], Mapping[str, str]] = ({}, {}),
) -> tuple[tuple[Compared, ...], tuple[Difference, ...]]:
    """Every file of either folder but the log."""
    del toolbox, runner, scratch, strip_signatures, conditions
    names = sorted({path.name for folder in (first, second) for path in folder.iterdir()} - {"build.log"})
    digests = [
        [digest_file(folder / name) if (folder / name).is_file() else None for folder in (first, second)]
        for name in names
    ]
    compared = tuple(
        Compared(name=name, first=one, second=two) for name, (one, two) in zip(names, digests, strict=True)
    )
    return compared, tuple(Difference(artefact=item.name, what="content") for item in compared if not item.identical)
