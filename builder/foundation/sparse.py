"""Sparse files: where their data and their holes are."""

from __future__ import annotations

import os
from collections.abc import Iterator


def extents(descriptor: int, size: int) -> Iterator[tuple[int, int, bool]]:
    """Start, end and kind (True: data, False: hole) of each stretch of the first ``size`` bytes of a file."""
    position = 0
    while position < size:
        try:
            data = os.lseek(descriptor, position, os.SEEK_DATA)
        except OSError:  # ENXIO: nothing but a hole up to the end
            data = size
        if data > position:
            yield position, min(data, size), False
        if data >= size:
            return
        hole = min(os.lseek(descriptor, data, os.SEEK_HOLE), size)
        yield data, hole, True
        position = hole
