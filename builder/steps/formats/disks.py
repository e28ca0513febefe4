"""The whole disk, packed: for writing it to a real one, or as QEMU's own format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from builder.steps.formats.source import Source


def write_raw(source: Source, folder: Path) -> None:
    """Write ``image.raw.zst``: every byte of the disk; what is empty takes next to nothing.

    Raises:
        ProcessError: zstd failed.
    """
    # One thread and several give different bytes, however many several are: -T0 is always several.
    _run(source, folder, ["zstd", "-T0", "-q", "-o", folder / "image.raw.zst", source.disk])


def write_qcow2(source: Source, folder: Path) -> None:
    """Write ``image.qcow2``: compressed clusters, so that it needs QEMU 5.1 or newer.

    Raises:
        ProcessError: qemu-img failed.
    """
    # One cluster at a time (-m 1): side by side they would lie in the order in which they happen to be ready.
    words = ["qemu-img", "convert", "-q", "-m", "1", "-f", "raw", "-O", "qcow2", "-c", "-o", "compression_type=zstd"]
    _run(source, folder, [*words, source.disk, folder / "image.qcow2"])


def _run(source: Source, folder: Path, words: Sequence[str | Path]) -> None:
    source.runner.run(source.toolbox.command(words, readable=[source.disk], writable=[folder]))
