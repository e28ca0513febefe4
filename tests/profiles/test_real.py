"""The profiles and overlays that Lichen itself brings."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import builder
from builder.data.profile import Architecture
from builder.foundation.digest import canonical_json
from builder.foundation.place import Cache, Project
from builder.foundation.workbench import Workbench
from builder.steps.machine import HARDWARE
from builder.steps.profiles import load_recipe, overlay_names, profile_names
from builder.verbs.everything import out_of_reach
from builder.verbs.lock import check_lock
from builder.verbs.schema import KINDS, Kind, schema, schema_path

PROJECT = Project(Path(builder.__file__).parent.parent)
LINE = "# yaml-language-server: $schema="


@pytest.mark.parametrize("name", profile_names(PROJECT))
def test_profile_loads(name: str) -> None:
    load_recipe(PROJECT, name)


BUILDABLE = [
    (name, architecture)
    for name in profile_names(PROJECT)
    if not (profile := load_recipe(PROJECT, name).profile).abstract
    for architecture in profile.architectures
]


@pytest.mark.parametrize(("name", "architecture"), BUILDABLE)
def test_lock_is_current(name: str, architecture: Architecture, tmp_path: Path) -> None:
    bench = Workbench(PROJECT, Cache(tmp_path))
    if missing := out_of_reach(bench, name, architecture):
        # Nobody who could reach the vendor has locked it. A lock that is missing for any other reason is a fault.
        pytest.skip(f"no lock yet: {missing[0].what}")
    check_lock(bench, name, architecture)


@pytest.mark.parametrize(("name", "architecture"), BUILDABLE)
def test_kernel_speaks_on_the_serial_console_of_our_machines(name: str, architecture: str) -> None:
    """Else nobody would see why a boot fails."""
    consoles = [word for word in load_recipe(PROJECT, name).profile.kernel.command_line if word.startswith("console=")]
    assert consoles[-1] == f"console={HARDWARE[architecture].console}"


def test_every_overlay_is_used_by_a_profile() -> None:
    used = {item.name for name in profile_names(PROJECT) for item in load_recipe(PROJECT, name).overlays}
    assert used == set(overlay_names(PROJECT))


@pytest.mark.parametrize("kind", KINDS)
def test_schema_file_is_current(kind: Kind, tmp_path: Path) -> None:
    path = schema_path(Workbench(PROJECT, Cache(tmp_path)), kind)
    assert path.is_file(), "run `lichen schema --write`"
    assert path.read_text() == canonical_json(schema(kind)), "run `lichen schema --write`"


@pytest.mark.parametrize(
    "path", [*sorted(PROJECT.profiles.glob("*.yaml")), *sorted(PROJECT.overlays.glob("*/overlay.yaml"))], ids=str
)
def test_file_tells_editors_its_schema(path: Path) -> None:
    first = path.read_text().splitlines()[0]
    assert first.startswith(LINE)
    kind = "overlay" if path.name == "overlay.yaml" else "profile"
    target = (path.parent / first.removeprefix(LINE)).resolve()
    assert target == PROJECT.profiles / f"{kind}.schema.json"
    allowed = schema("overlay" if kind == "overlay" else "profile")["properties"]
    assert set(yaml.safe_load(path.read_text())) <= set(allowed)
