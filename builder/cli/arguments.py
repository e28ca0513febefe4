"""Arguments and options that several commands share, and how the shell completes them."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated, Literal, get_args

import typer

from builder.data.profile import Architecture
from builder.foundation.errors import LichenError
from builder.foundation.place import Project, find_project
from builder.steps.profiles import profile_names


def complete_profile(context: typer.Context, incomplete: str) -> list[str]:
    """Names of the project's profiles; none outside of a project."""
    named = context.find_root().params.get("project")
    with contextlib.suppress(LichenError, OSError):
        project = Project(Path(named)) if named else find_project(Path.cwd())
        return [name for name in profile_names(project) if name.startswith(incomplete)]
    return []


def complete_architecture(incomplete: str) -> list[str]:
    """Architectures that profiles can name."""
    return [name for name in get_args(Architecture) if name.startswith(incomplete)]


ProfileName = Annotated[
    str,
    typer.Argument(
        metavar="PROFILE", help="Name of a profile, as `lichen list` shows.", autocompletion=complete_profile
    ),
]
OptionalProfileName = Annotated[
    str | None,
    typer.Argument(
        metavar="PROFILE", help="Name of a profile, as `lichen list` shows.", autocompletion=complete_profile
    ),
]
ProfileNames = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="PROFILE", help="Names of profiles, as `lichen list` shows.", autocompletion=complete_profile
    ),
]
ArchitectureName = Annotated[
    str | None,
    typer.Option(
        "--architecture",
        "-a",
        metavar="NAME",
        help="One of the profile's architectures; its first one when left out.",
        autocompletion=complete_architecture,
    ),
]
SnapshotService = Annotated[
    str,
    typer.Option(
        metavar="URL",
        help="A service with all earlier states of Debian's archives, asked for what mirrors have dropped.",
        envvar="LICHEN_SNAPSHOT",
    ),
]
ModuleKey = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Private key for the modules of the project's own kernel, where a profile names its certificate.",
        envvar="LICHEN_MODULE_KEY",
    ),
]
SecureBootKey = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Private key that signs UKIs for Secure Boot, where a profile names its certificate.",
        envvar="LICHEN_SECURE_BOOT_KEY",
    ),
]
SchemaKind = Literal["profile", "overlay"]
