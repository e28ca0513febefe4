"""What the kernel is told: watches and denials, laid out as the BPF maps want them (``bpf/lichen-guard.h``)."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .watch import Denial, Interest, Watch

# Bytes of a prefix with the slash at its end, and of a name with the zero: limits of the maps.
PREFIX_LIMIT, NAME_LIMIT = 256, 64
PLACES, NAMES, DENIAL_LIMIT = 4096, 1024, 64
_SLOTS = ("exec", "read", "write", "change", "unlink")
_PLACE = struct.Struct("<5QII")
_PROGRAM = struct.Struct("<QII")
_WORD = struct.Struct("<Q")


class PlaceError(ValueError):
    """A watch or denial that does not fit into the kernel's maps; the message says which, why, and what would."""


@dataclass(frozen=True)
class Layout:
    """Contents of the maps; keys and values as bytes."""

    places: Mapping[bytes, bytes]
    names: Mapping[bytes, bytes]


def layout(watches: Sequence[Watch], denials: Sequence[Denial]) -> Layout:
    """Every prefix with all that holds there.

    The kernel finds the longest prefix only, so each carries what shorter ones say as well: of watches the longest,
    of denials all. A path through a symbolic link is laid down as it is and as it is resolved now.

    Raises:
        PlaceError: a path is relative or too long, a name too long, or there are too many of something.
    """
    if len(denials) > DENIAL_LIMIT:
        raise PlaceError(f"{len(denials)} denials; the kernel's part takes {DENIAL_LIMIT}: join some")
    interests: dict[bytes, Interest] = {}
    names: dict[bytes, Interest] = {}
    for watch in watches:
        if watch.place == "name":
            key = _name(watch.value)
            names[key] = names.get(key, Interest(0)) | watch.interest
        else:
            for prefix in _prefixes(watch.value):
                interests[prefix] = interests.get(prefix, Interest(0)) | watch.interest
    refused: dict[bytes, list[int]] = {}
    for number, denial in enumerate(denials):
        for path in denial.paths:
            for prefix in _prefixes(path):
                masks = refused.setdefault(prefix, [0] * len(_SLOTS))
                for slot in _slots(denial):
                    masks[slot] |= 1 << number
    places = {
        _key(prefix): _PLACE.pack(*_union(prefix, refused), _longest(prefix, interests), 0)
        for prefix in interests.keys() | refused.keys()
    }
    for what, count, limit in (("paths", len(places), PLACES), ("names", len(names), NAMES)):
        if count > limit:
            raise PlaceError(f"{count} {what}; the kernel's part takes {limit}: watch folders instead of files")
    return Layout(places, {name: struct.pack("<I", interest) for name, interest in names.items()})


def without_place(denials: Sequence[Denial], kind: str) -> int:
    """Mask of the denials of a kind that has no paths."""
    return sum(1 << number for number, denial in enumerate(denials) if denial.kind == kind)


def exempt(denials: Sequence[Denial]) -> dict[bytes, bytes]:
    """Program files that are let through, with the mask of denials that let them; missing files are left out."""
    masks: dict[bytes, int] = {}
    for number, denial in enumerate(denials):
        for program in denial.except_programs:
            try:
                found = os.stat(program)
            except OSError:
                continue
            device = os.major(found.st_dev) << 20 | os.minor(found.st_dev)
            key = _PROGRAM.pack(found.st_ino, device, 0)
            masks[key] = masks.get(key, 0) | 1 << number
    return {key: _WORD.pack(mask) for key, mask in masks.items()}


def _slots(denial: Denial) -> Iterable[int]:
    if denial.kind == "open":
        if denial.interest & Interest.READ:
            yield _SLOTS.index("read")
        if denial.interest & Interest.WRITE:
            yield _SLOTS.index("write")
    elif denial.kind in _SLOTS:
        yield _SLOTS.index(denial.kind)


def _union(prefix: bytes, refused: Mapping[bytes, list[int]]) -> list[int]:
    masks = [0] * len(_SLOTS)
    for other, bits in refused.items():
        if prefix.startswith(other):
            masks = [mask | bit for mask, bit in zip(masks, bits, strict=True)]
    return masks


def _longest(prefix: bytes, interests: Mapping[bytes, Interest]) -> int:
    fitting = [other for other in interests if prefix.startswith(other)]
    return int(interests[max(fitting, key=len)]) if fitting else 0


def _prefixes(path: str) -> set[bytes]:
    if not path.startswith("/"):
        raise PlaceError(f"path {path!r} is relative: write it from /")
    found = set()
    for form in (os.path.normpath(path), os.path.realpath(path)):
        prefix = os.fsencode("/" + form.strip("/"))
        prefix += b"" if prefix == b"/" else b"/"
        if len(prefix) > PREFIX_LIMIT:
            raise PlaceError(f"path {form!r} has more than {PREFIX_LIMIT - 1} bytes: watch a folder above it")
        found.add(prefix)
    return found


def _key(prefix: bytes) -> bytes:
    return struct.pack("<I", len(prefix) * 8) + prefix.ljust(PREFIX_LIMIT, b"\0")


def _name(name: str) -> bytes:
    raw = os.fsencode(name)
    if not raw or b"/" in raw or len(raw) >= NAME_LIMIT:
        raise PlaceError(f"name {name!r}: a file's own name of 1 to {NAME_LIMIT - 1} bytes is wanted")
    return raw.ljust(NAME_LIMIT, b"\0")
