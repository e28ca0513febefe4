"""Unpacking erofs: its files are compressed, so ``fsck.erofs`` of the tools tree reads them."""

from __future__ import annotations

from pathlib import Path

from builder.foundation.inside.blob import Blob
from builder.foundation.inside.tree import UnreadableError
from builder.foundation.process import ProcessError, Runner
from builder.foundation.toolbox import Toolbox

_MAGIC = 0xE0F5E1E2


def is_erofs(blob: Blob) -> bool:
    """Whether an erofs begins here."""
    return blob.read(1024, 4) == _MAGIC.to_bytes(4, "little")


def unpack_erofs(blob: Blob, toolbox: Toolbox, runner: Runner, folder: Path, *, attributes: bool = False) -> Path:
    """Unpack all files into the new folder ``folder``; return their root, a folder in it.

    Owners are right only for root: nobody else may give files away.

    Args:
        attributes: with extended attributes, some of which only root may set.

    Raises:
        UnreadableError: it is damaged.
    """
    folder.mkdir(parents=True)
    source = blob.write(folder / "image")
    root = folder / "files"
    words = ["fsck.erofs", f"--extract={root}", "--preserve", *(["--xattrs"] if attributes else []), str(source)]
    try:
        runner.run(toolbox.command(words, writable=[folder]))
    except ProcessError as error:
        lines = (error.completed.stderr or error.completed.stdout).strip().splitlines()
        raise UnreadableError(f"damaged erofs: {' '.join(lines[-2:])}") from error
    source.unlink()
    if not root.is_dir():
        raise UnreadableError("damaged erofs: nothing could be unpacked")
    return root
