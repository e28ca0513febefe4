"""Reading what there is about an image. Only the manifest must be there; anything else may come later."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from builder.data.contents import CONTENTS, read_contents
from builder.data.manifest import SIGNATURE, Manifest, read_manifest
from builder.data.testresults import BOOT, PORTS, TESTS, Boot, Port, TestCase, read_boot, read_ports, read_tests
from builder.data.verification import Verification, read_verification
from builder.foundation.errors import InputError, Problem
from builder.steps.report.bill import Item, items
from builder.steps.report.sizes import Sizes, measure

Found = TypeVar("Found")


@dataclass(frozen=True)
class Facts:
    """All that is known about an image; None stands for what nobody found out yet.

    Attributes:
        sizes: None when there is no list of files.
        licences: whether ``bill`` comes from the SPDX document, which knows them.
        signature: name of the file that signs the checksums.
        broken_off: the last test run ended before its tests did: the guest did not boot, or somebody stopped it.
    """

    manifest: Manifest
    bill: tuple[Item, ...]
    licences: bool
    sizes: Sizes | None
    signature: str | None
    tests: tuple[TestCase, ...] | None
    broken_off: bool
    boot: Boot | None
    ports: tuple[Port, ...] | None
    verification: Verification | None


def gather(image: Path) -> Facts:
    """Read an image folder, the results of its last test and of its verification.

    Raises:
        InputError: not an image folder, or a file is damaged; every damaged file is named.
    """
    manifest = read_manifest(image / "manifest.json")
    results = image.with_name(f"{image.name}.test")
    problems: list[Problem] = []

    def read(path: Path, reader: Callable[[Path], Found]) -> Found | None:
        try:
            return reader(path) if path.exists() else None
        except InputError as error:
            problems.extend(error.problems)
            return None

    bill = read(image, lambda folder: items(folder, manifest)) or ((), False)
    facts = Facts(
        manifest=manifest,
        bill=bill[0],
        licences=bill[1],
        sizes=read(image / CONTENTS, lambda path: measure(read_contents(path))),
        signature=SIGNATURE if (image / SIGNATURE).is_file() else None,
        tests=read(results / TESTS, read_tests),
        broken_off=results.is_dir() and not (results / TESTS).exists(),
        boot=read(results / "artifacts" / BOOT, read_boot),
        ports=read(results / "artifacts" / PORTS, read_ports),
        verification=read(image.with_name(f"{image.name}.verify.json"), read_verification),
    )
    if problems:
        raise InputError(problems)
    return facts
