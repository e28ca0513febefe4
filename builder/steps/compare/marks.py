"""What causes leave in contents: each function says whether two contents look as if that alone made them differ.

Most work by masking: when both are the same once all dates are replaced by the same word, dates are what differs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime

from builder.steps.compare.clue import Clue

Pattern = re.Pattern[bytes]
_MONTHS = rb"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*"
_DAYS = rb"(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,? +)?"
_TIME = rb"\d{1,2}:\d\d(?::\d\d(?:[.,]\d+)?)?"
_ZONE = rb"(?: ?(?:Z|[+-]\d\d:?\d\d|[AP]M|[A-Z]{3,5}\b))*"
_DATES = re.compile(
    rb"|".join(
        (
            rb"\d{4}[-/.]\d\d[-/.]\d\d(?:[T ]" + _TIME + _ZONE + rb")?",
            _DAYS + _MONTHS + rb" +\d{1,2},?(?: \d{4})?(?: " + _TIME + _ZONE + rb")?(?: \d{4})?",
            _DAYS + rb"\d{1,2}[ -]" + _MONTHS + rb"[ -]\d{4}(?: " + _TIME + _ZONE + rb")?",
            rb"(?<![0-9A-Za-z])(?:19|20)\d\d(?:0[1-9]|1[0-2])[0-3]\d(?:T?[0-2]\d[0-5]\d(?:[0-5]\d)?Z?)?(?![0-9A-Za-z])",
            # Seconds since 1970 from 2001 on, also milli-, micro- and nanoseconds.
            rb"(?<![0-9A-Za-z])[1-3]\d{9}(?:\d{3}){0,3}(?:\.\d+)?(?![0-9A-Za-z])",
            rb"(?<![0-9A-Za-z])" + _TIME + _ZONE,
        )
    )
)
_SHADOW_DAYS = re.compile(rb"(?<=:)\d{5}(?=:)")  # days since 1970
_ZONES = re.compile(_TIME + rb" ?([+-]\d\d:?\d\d|[A-Z]{3,5}\b)|\b([A-Z][a-z]+/[A-Z][A-Za-z_/]+)\b")
_ZONE_NAMES = re.compile(rb"\b(?:[A-Z][a-z]+/[A-Z][A-Za-z_/]+|UTC|GMT)\b")
_RANDOM = (
    re.compile(rb"-----BEGIN [A-Z0-9 ]+-----.*?-----END [A-Z0-9 ]+-----", re.DOTALL),
    re.compile(rb"\b[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}\b"),
    re.compile(rb"\$(?:y|gy|7|2[aby]|1|5|6)\$[./A-Za-z0-9$,=]+"),
    re.compile(rb"\b[0-9A-Fa-f]{12,}\b"),
    re.compile(rb"(?<=tmp)[._-]?[A-Za-z0-9_]{6,12}\b|(?<=\.)(?=[a-z]*[0-9A-Z])[A-Za-z0-9]{6,10}\b"),
    re.compile(rb"(?<![A-Za-z0-9+/])(?=[A-Za-z0-9+/]*[0-9])(?=[A-Za-z0-9+/]*[A-Z])[A-Za-z0-9+/]{20,}={0,2}"),
)
_PATHS = re.compile(rb"/(?:tmp|var/tmp|build|builddir|home|root|run|mnt|srv|workspace)/[^\s\0:;'\",)]*")
_HOSTS = re.compile(
    rb"(?i)(?:\b(?:build ?host|host ?name|nodename|host)\b\s*[=:]?\s*|(?<=\w)@)[A-Za-z0-9][A-Za-z0-9.-]*"
)
_USERS = re.compile(rb"(?i)\b(?:user ?name|user|logname|built by|packager|maintainer|uid|gid)\b\s*[=:]?\s*[\w.-]+")
_LOCALES = re.compile(
    rb"\b(?:LANG|LANGUAGE|LC_[A-Z]+)=\S*|\b[a-z]{2,3}_[A-Z]{2}(?:\.[A-Za-z0-9-]+)?(?:@\w+)?\b|\bC(?:\.UTF-8)?\b|\bPOSIX\b"
)
_JOBS = re.compile(rb"(?i)-j ?\d+\b|\b(?:jobs|threads|cpus|nproc|processors|workers|cores)\b\W{0,3}\d+")
_DECIMALS = re.compile(rb"(?<=\d)[.,](?=\d)")
_DAY = 86400
_QUARTER, _MOST_SHIFT = 900 * 10**9, 26 * 3600 * 10**9  # of an hour; between the zones farthest apart
_EARLY, _LATE, _APART = 1577836800, 2208988800, 3 * 366 * _DAY  # 2020, 2040; what two builds may lie apart
_MOST_STRETCHES = 256
_TAR_BLOCK = 512
_DIGEST = re.compile(rb"\b[0-9a-f]{64}\b")
_SIZE = re.compile(rb'("size":\s*)\d+')
# CycloneDX's number of a document, which grows from the digests of the image.
_SERIAL = re.compile(rb'("serialNumber":\s*"urn:uuid:)[0-9a-f-]{36}')


def masked(*patterns: Pattern) -> Callable[[Clue], bool]:
    """Recognises contents that are the same once everything that fits the patterns is taken out."""

    def fits(clue: Clue) -> bool:
        first, second = clue.first, clue.second
        for pattern in patterns:
            first, second = pattern.sub(b"\0", first), pattern.sub(b"\0", second)
        return first == second

    return fits


def literal(*keys: str) -> Callable[[Clue], bool]:
    """Recognises that the condition of one build stands in its content and not in the other's: a proof."""

    def fits(clue: Clue) -> bool:
        for key in keys:
            told = clue.told(key)
            if told is None or min(len(value) for value in told) < 3:
                continue
            first, second = told
            if (first in clue.first and first not in clue.second) or (
                second in clue.second and second not in clue.first
            ):
                return True
        return False

    return fits


def clock(clue: Clue) -> bool:
    """Dates and times in words or digits, days in a shadow file, or numbers of bytes near the time of building."""
    if masked(_DATES)(clue):
        return True
    if clue.path.rstrip("-").endswith("shadow") and masked(_SHADOW_DAYS)(clue):
        return True
    return binary_clock(clue)


def timezone(clue: Clue) -> bool:
    """The same dates but for the zone they are told in, or zone names alone."""
    if masked(_ZONE_NAMES)(clue):
        return True
    zones = [sorted(_ZONES.findall(content)) for content in (clue.first, clue.second)]
    return zones[0] != zones[1] and masked(_DATES)(clue)


def umask(clue: Clue) -> bool:
    """Modes (octal) that differ in bits for reading, writing and executing only."""
    return not (int(clue.first, 8) ^ int(clue.second, 8)) & ~0o777


def shifted(clue: Clue) -> bool:
    """Local time stamps (``NAME=NANOSECONDS`` each) that all lie the same whole number of quarters of an hour apart."""
    # That of reading is a day without a time.
    times = [re.findall(rb"(?:modified|created) \(local time\)=(\d+)", value) for value in (clue.first, clue.second)]
    deltas = {int(a) - int(b) for a, b in zip(*times, strict=False) if a != b}
    return len(deltas) == 1 and all(not delta % _QUARTER and abs(delta) <= _MOST_SHIFT for delta in deltas)


def random(clue: Clue) -> bool:
    """UUIDs, keys, salts, digests, names of temporary files; or bytes without any likeness."""
    return masked(*_RANDOM)(clue) or _noise(clue)


def host_name(clue: Clue) -> bool:
    """A name after the word host or an @."""
    return masked(_HOSTS)(clue)


def build_path(clue: Clue) -> bool:
    """Folders where builds happen."""
    return masked(_PATHS)(clue)


def user(clue: Clue) -> bool:
    """A name or number after a word for who it was."""
    return masked(_USERS)(clue)


def parallelism(clue: Clue) -> bool:
    """A number of jobs or processors, or lines of a log in another order."""
    if masked(_JOBS)(clue):
        return True
    for key in ("jobs", "cpus"):
        if told := clue.told(key):
            first, second = (re.compile(rb"\b" + re.escape(value) + rb"\b") for value in told)
            if first.sub(b"\0", clue.first) == second.sub(b"\0", clue.second):
                return True
    lines = clue.first.splitlines()
    return _reordered(lines, clue.second.splitlines()) and sum(b" " in line.strip() for line in lines) * 2 > len(lines)


def locale(clue: Clue) -> bool:
    """Names of locales, decimal commas, or lines sorted by letters in one and by bytes in the other."""
    if masked(_LOCALES)(clue) or masked(_DECIMALS)(clue):
        return True
    first, second = (content.splitlines() for content in (clue.first, clue.second))
    if not _reordered(first, second):
        return False
    by_bytes, by_letters = sorted(first), sorted(first, key=_collated)
    return (first, second) in ((by_bytes, by_letters), (by_letters, by_bytes))


def readdir(clue: Clue) -> bool:
    """The same lines, words, or members of an archive in another order."""
    if _reordered(clue.first.splitlines(), clue.second.splitlines()):
        return True
    if b"\0" not in clue.first and _reordered(clue.first.split(), clue.second.split()):
        return True
    words = (re.findall(rb"[^\s,;:\[\]]+", content) for content in (clue.first, clue.second))
    if b"\0" not in clue.first and _reordered(*words):
        return True
    if len(clue.first) % _TAR_BLOCK:
        return False
    return _reordered(*(_blocks(content) for content in (clue.first, clue.second)))


def auxiliary_cache(clue: Clue) -> bool:
    """ldconfig's cache of what it saw: device and inode numbers of the machine that built."""
    return clue.first.startswith(b"glibc-ld.so.auxcache-") and clue.second.startswith(b"glibc-ld.so.auxcache-")


def consequence(clue: Clue) -> bool:
    """A document that differs in digests and sizes of what differs itself, or in lines about files that do."""
    if clue.files and _about(clue.files, clue.first, clue.second):
        return True
    first, second = (_renamed(*side) for side in zip((clue.first, clue.second), clue.digests, strict=True))
    return (first, second) != (clue.first, clue.second) and _derived(first) == _derived(second)


def _derived(content: bytes) -> bytes:
    """``content`` without what follows from digests: sizes and serial numbers."""
    return _SERIAL.sub(rb"\1", _SIZE.sub(rb"\1", content))


def _about(files: frozenset[str], first: bytes, second: bytes) -> bool:
    lines = set(first.splitlines()) ^ set(second.splitlines())
    try:
        return bool(lines) and all(json.loads(line)["path"] in files for line in lines)
    except (ValueError, KeyError, TypeError):
        return False


def _renamed(content: bytes, digests: Mapping[str, str]) -> bytes:
    return _DIGEST.sub(lambda found: digests.get(found[0].decode(), found[0].decode()).encode(), content)


def binary_clock(clue: Clue) -> bool:
    """Whether each stretch that differs lies within a number of four or eight bytes that is a time near the builds'."""
    if len(clue.first) != len(clue.second) or (clue.first + clue.second).isascii():
        return False
    clocks = [_seconds(side.get("clock", "")) for side in clue.conditions]
    stretches = list(_stretches(clue.first, clue.second))
    if not 0 < len(stretches) <= _MOST_STRETCHES:
        return False
    return all(_is_time(clue, start, end, clocks) for start, end in stretches)


def _is_time(clue: Clue, start: int, end: int, clocks: list[float | None]) -> bool:
    for size, unit in ((4, 1), (8, 1), (8, 10**3), (8, 10**6), (8, 10**9)):
        for place in range(max(0, end - size), start + 1):
            for order in ("little", "big"):
                values = [
                    int.from_bytes(content[place : place + size], "little" if order == "little" else "big") / unit
                    for content in (clue.first, clue.second)
                ]
                if _plausible(values, clocks):
                    return True
    return False


def _plausible(values: list[float], clocks: list[float | None]) -> bool:
    if all(clocks):
        return all(near is not None and abs(value - near) < _DAY for value, near in zip(values, clocks, strict=True))
    return all(_EARLY < value < _LATE for value in values) and abs(values[0] - values[1]) < _APART


def _seconds(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def _stretches(first: bytes, second: bytes, apart: int = 4) -> Iterator[tuple[int, int]]:
    """Start and end of stretches of differing bytes; equal bytes up to ``apart`` within do not part them."""
    start = last = -1
    for block in range(0, len(first), _TAR_BLOCK):
        ours, theirs = first[block : block + _TAR_BLOCK], second[block : block + _TAR_BLOCK]
        if ours == theirs:  # most are, and to look at each byte takes its time
            continue
        for index in (block + place for place in range(len(ours)) if ours[place] != theirs[place]):
            if start >= 0 and index - last > apart:
                yield start, last + 1
                start = index
            start = index if start < 0 else start
            last = index
    if start >= 0:
        yield start, last + 1


def _noise(clue: Clue) -> bool:
    """Whether each stretch that differs is long and without likeness, as only random bytes are."""
    if len(clue.first) != len(clue.second):
        return False
    stretches = list(_stretches(clue.first, clue.second))
    for start, end in stretches:
        ours, theirs = clue.first[start:end], clue.second[start:end]
        alike = sum(a == b for a, b in zip(ours, theirs, strict=True))
        if end - start < 8 or alike > (end - start) // 10 or (ours + theirs).isascii():
            return False
        if min(len(set(ours)), len(set(theirs))) < min(end - start, 256) // 2:
            return False
    return bool(stretches)


def _reordered(first: list[bytes], second: list[bytes]) -> bool:
    return len(first) > 1 and first != second and sorted(first) == sorted(second)


def _blocks(content: bytes) -> list[bytes]:
    return [content[start : start + _TAR_BLOCK] for start in range(0, len(content), _TAR_BLOCK)]


def _collated(line: bytes) -> tuple[str, str]:
    text = line.decode(errors="replace")
    return "".join(char for char in text.casefold() if char.isalnum()), text.swapcase()
