"""JSON schemas of profiles and overlays, so that editors complete and check them while a person types."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from builder.data.overlay import Overlay
from builder.data.profile import Profile
from builder.foundation.atomic import write_atomically
from builder.foundation.digest import canonical_json
from builder.foundation.workbench import Workbench

Kind = Literal["profile", "overlay"]
KINDS: tuple[Kind, ...] = ("profile", "overlay")
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema(kind: Kind) -> dict[str, Any]:
    """The JSON schema of one kind of file."""
    model = Profile if kind == "profile" else Overlay
    document = {"$schema": DIALECT, **model.model_json_schema()}
    if kind == "profile":
        # What a parent gives, a child need not repeat: only the merged profile has every required key.
        for part in (document, *document.get("$defs", {}).values()):
            part.pop("required", None)
        document["required"] = ["description"]
    return document


def schema_path(workbench: Workbench, kind: Kind) -> Path:
    """Where a project keeps the schema of one kind."""
    return workbench.project.profiles / f"{kind}.schema.json"


def write_schemas(workbench: Workbench) -> tuple[Path, ...]:
    """Write both schemas into the project; the paths of those that changed.

    Raises:
        LichenError: a file cannot be written.
    """
    changed = []
    for kind in KINDS:
        path, text = schema_path(workbench, kind), canonical_json(schema(kind))
        if not path.is_file() or path.read_bytes() != text.encode():
            write_atomically(path, text)
            changed.append(path)
    return tuple(changed)
