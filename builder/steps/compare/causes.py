"""The table of known causes: why two builds of one lock may differ, how that is recognised, and what helps.

The order counts: what is proved by a build's own conditions or is most special comes first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from builder.steps.compare import marks
from builder.steps.compare.clue import Clue

CONSEQUENCE = "consequence"
_TIME_FIELDS = ("time", "time stamp")
_RANDOM_FIELDS = ("UUID", "seed", "serial")


@dataclass(frozen=True)
class Cause:
    """A known cause.

    Attributes:
        name: as it stands in :attr:`builder.data.verification.Difference.cause`.
        explanation: what happened, one sentence.
        remedy: what to do about it.
    """

    name: str
    explanation: str
    remedy: str
    recognise: Callable[[Clue], bool]


def _in_text(*recognisers: Callable[[Clue], bool]) -> Callable[[Clue], bool]:
    """In contents, in names of files and in where links point to."""
    return lambda clue: clue.aspect in ("content", "name", "other") and any(fits(clue) for fits in recognisers)


def _field(clue: Clue, words: tuple[str, ...]) -> bool:
    return clue.aspect == "field" and any(word in clue.path for word in words)


CAUSES = (
    Cause(
        CONSEQUENCE,
        "it holds digests of artefacts that differ themselves",
        "mend those; this follows",
        lambda clue: clue.aspect == "content" and marks.consequence(clue),
    ),
    Cause(
        "inode numbers",
        "a cache holds inode numbers of the file system that the image was built on",
        "remove the cache in the image's finalize script; it is made again when needed",
        lambda clue: clue.aspect == "content" and marks.auxiliary_cache(clue),
    ),
    Cause(
        "umask",
        "permission bits come from the umask of whoever built, or of the machine",
        "set the mode: `modes:` in overlay.yaml, `install -m`, or `umask 022` in the script",
        lambda clue: clue.aspect == "mode" and marks.umask(clue),
    ),
    Cause(
        "user",
        "owner or name of the user who built",
        "let files belong to root or a user of the image; do not ask who builds",
        lambda clue: clue.aspect == "owner" or _in_text(marks.literal("user", "home"), marks.user)(clue),
    ),
    Cause(
        "host name",
        "name of the machine that built",
        "give the tool a fixed name: an option, or HOSTNAME in its environment",
        _in_text(marks.literal("hostname"), marks.host_name),
    ),
    Cause(
        "build path",
        "the folder in which it was built",
        "build below a fixed path, or map it: -ffile-prefix-map, --remap-path-prefix",
        _in_text(marks.literal("path"), marks.build_path),
    ),
    Cause(
        "locale",
        "language, sorting or number format of whoever built",
        "set LC_ALL=C.UTF-8 where it is made",
        _in_text(marks.literal("locale"), marks.locale),
    ),
    Cause(
        "time zone",
        "times were told in the zone of the machine that built",
        "set TZ=UTC where it is made",
        lambda clue: (
            (clue.aspect == "times" and marks.shifted(clue))
            or _in_text(marks.literal("timezone"), marks.timezone)(clue)
        ),
    ),
    Cause(
        "clock",
        "it holds the time at which it was made",
        "give the tool SOURCE_DATE_EPOCH, or the time of the lock, or remove it",
        lambda clue: clue.aspect == "times" or _field(clue, _TIME_FIELDS) or _in_text(marks.clock)(clue),
    ),
    Cause(
        "parallelism",
        "the number of jobs or processors, or which of them was done first",
        "sort what several jobs bring together; give the tool a fixed number of jobs",
        _in_text(marks.parallelism),
    ),
    Cause(
        "readdir order",
        "files were taken in the order in which the file system lists a folder",
        "sort them before use",
        lambda clue: clue.aspect == "order" or _in_text(marks.readdir)(clue),
    ),
    Cause(
        "random",
        "random numbers: a UUID, key, salt, seed, or the name of a temporary file",
        "derive it from the lock (a seed), or leave it to the first boot",
        lambda clue: _field(clue, _RANDOM_FIELDS) or _in_text(marks.random)(clue),
    ),
)


def find_cause(clue: Clue) -> Cause | None:
    """The first cause of the table that the difference looks like."""
    return next((cause for cause in CAUSES if cause.recognise(clue)), None)


def explain(name: str) -> Cause:
    """The cause of that name, for whoever prints explanation and remedy.

    Raises:
        KeyError: there is none.
    """
    for cause in CAUSES:
        if cause.name == name:
            return cause
    raise KeyError(name)
