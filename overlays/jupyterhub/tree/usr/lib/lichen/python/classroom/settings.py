"""The two files a teacher edits: classroom.yaml (how the machine runs) and course.yaml (who and what)."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from . import layout

SIZE_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


class SettingsError(Exception):
    """A file of the teacher's cannot be used; the message names the file and the fault."""


class Registration(StrEnum):
    """Who may have an account."""

    OPEN = "open"
    APPROVAL = "approval"
    CLOSED = "closed"


@dataclass(frozen=True)
class Settings:
    """The contents of classroom.yaml."""

    title: str
    admin: str
    registration: Registration
    minimum_password_length: int
    memory_limit: str
    cpu_limit: float
    idle_timeout: int
    handin_limit: str
    port: int


@dataclass(frozen=True)
class Course:
    """The contents of course.yaml. No assignments means that any name will do."""

    students: frozenset[str] = frozenset()
    join_code: str | None = None
    assignments: frozenset[str] = frozenset()


def parse_size(text: str) -> int:
    """Bytes in a size such as 512M."""
    unit = SIZE_UNITS.get(text[-1:].upper())
    return int(text[:-1]) * unit if unit else int(text)


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a YAML file that must hold a mapping; an empty file is an empty one."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"{path}: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError(f"{path}: expected 'key: value' lines, found a {type(content).__name__}")
    return content


def load_settings(path: Path = layout.CONFIGURATION / "classroom.yaml") -> Settings:
    """Read classroom.yaml."""
    values = read_mapping(path)
    try:
        return Settings(**{**values, "registration": Registration(values.get("registration", ""))})
    except (TypeError, ValueError) as error:
        raise SettingsError(f"{path}: {error}") from error


def names(path: Path, key: str, value: Any) -> frozenset[str]:
    """A list of names from the course file."""
    if value is None:
        return frozenset()
    if not isinstance(value, list) or not all(isinstance(item, str | int) for item in value):
        raise SettingsError(f"{path}: '{key}' must be a list of names")
    return frozenset(str(item).strip().lower() for item in value)


def load_course(folders: tuple[Path, ...] = (layout.STAFF, layout.CONFIGURATION)) -> Course:
    """Read the first course file there is; without one, nobody is listed and any assignment is accepted."""
    path = next((path for folder in folders if (path := folder / "course.yaml").is_file()), None)
    if path is None:
        return Course()
    values = read_mapping(path)
    if unknown := set(values) - {"students", "join_code", "assignments"}:
        raise SettingsError(
            f"{path}: unknown key '{min(map(str, unknown))}'; known are students, join_code, assignments"
        )
    code = values.get("join_code")
    return Course(
        students=names(path, "students", values.get("students")),
        join_code=None if code is None else str(code),
        assignments=names(path, "assignments", values.get("assignments")),
    )
