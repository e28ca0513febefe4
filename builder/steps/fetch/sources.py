"""Where this machine finds the files of a lock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from builder.data.lock import Deb, LockedFile, LockedModel, Wheel
from builder.foundation.errors import InputError, Problem

WHEEL_MEMBER = "pypi:"  # how the source of a model begins that is a file within a wheel


@dataclass(frozen=True)
class Sources:
    """Where this machine finds files, the preferred place first.

    Attributes:
        mirrors: base URLs of each archive; paths of packages are appended.
        indexes: base URLs of wheel indexes.
        models: for each model's name what the profile gives as its source.
        fallbacks: base URLs of each archive that are asked only for what no mirror has.
    """

    mirrors: Mapping[str, Sequence[str]]
    indexes: Sequence[str] = ()
    models: Mapping[str, str] = field(default_factory=dict)
    fallbacks: Mapping[str, Sequence[str]] = field(default_factory=dict)


def title(file: LockedFile) -> str:
    """How a file is called in messages."""
    if isinstance(file, Deb):
        return f"{file.name} {file.version} {file.architecture}"
    if isinstance(file, Wheel):
        return f"{file.name} {file.version} {file.filename}"
    return f"model {file.name}"


def require_sources(files: Sequence[LockedFile], sources: Sources) -> None:
    """Every one of ``files`` could be somewhere.

    Raises:
        InputError: an archive, the wheels or a model have no source.
    """
    archives = {file.archive for file in files if isinstance(file, Deb)}
    problems = [
        Problem(
            f"no mirror of the archive {archive!r} is known",
            archive,
            "neither an option nor this machine's apt names one",
            f"add `--mirror {archive}=URL`, or LICHEN_MIRRORS in the environment",
        )
        for archive in sorted(archives)
        if not sources.mirrors.get(archive)
    ]
    models = [file for file in files if isinstance(file, LockedModel)]
    problems += [
        Problem(
            f"no source of the model {file.name!r} is known",
            file.target,
            "the lock names it, the profile does not",
            f"add `models.{file.name}.source` to the profile, or lock anew",
        )
        for file in models
        if file.name not in sources.models
    ]
    indexed = [file.filename for file in files if isinstance(file, Wheel)]
    indexed += [title(file) for file in models if sources.models.get(file.name, "").startswith(WHEEL_MEMBER)]
    if indexed and not sources.indexes:
        why = "neither an option, nor pip's configuration, nor uv names one"
        problems.append(Problem("no index of wheels is known", indexed[0], why, "set PIP_INDEX_URL"))
    if problems:
        raise InputError(problems)
