"""``contents.jsonl`` beside every image: each file of its root file system, one JSON object a line, sorted by path.

Lines instead of one document: tens of thousands of files, which ``diff`` and ``grep`` read as they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from builder.data.model import Frozen
from builder.foundation.errors import InputError, Problem

CONTENTS = "contents.jsonl"
BUILD = "build"  # owner of what packages' scripts and Lichen itself made


class FileEntry(Frozen):
    r"""One file, link or folder of the root file system.

    Attributes:
        path: absolute, as the running machine sees it; bytes that are not UTF-8 are written as ``\xff``.
        mode: permission bits, set-user-ID and the like included.
        size: bytes of a file's content; 0 for anything else.
        sha256: of a regular file.
        sha1: of a regular file that no package brought; bills of materials in SPDX want it.
        link: where a symbolic link points to.
        owner: who brought it: ``deb:NAME``, ``wheel:NAME``, ``overlay:NAME``, ``model:NAME``, or ``build``. Python's
            byte code has the owner of its source, a folder of several packages that of the first of them.
    """

    path: str
    kind: Literal["file", "link", "folder", "other"]
    mode: int
    uid: int
    gid: int
    size: int = 0
    sha256: str | None = None
    sha1: str | None = None
    link: str | None = None
    owner: str = BUILD

    def line(self) -> str:
        """The entry's exact line."""
        return json.dumps(self.model_dump(exclude_defaults=True), sort_keys=True, ensure_ascii=True) + "\n"


def contents_text(entries: Iterable[FileEntry]) -> str:
    """The file's exact content."""
    return "".join(entry.line() for entry in sorted(entries, key=lambda entry: entry.path))


def read_contents(path: Path) -> Iterator[FileEntry]:
    """The entries of a file, in its order.

    Raises:
        InputError: missing, or not of this format.
    """
    try:
        with path.open(encoding="utf-8") as stream:
            for line in stream:
                yield FileEntry.model_validate_json(line)
    except (OSError, ValueError) as error:
        problem = Problem("the image's list of files cannot be read", str(path), str(error), "run `lichen build`")
        raise InputError(problem) from error
