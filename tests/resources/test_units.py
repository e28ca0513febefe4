"""Lines that declare units, and the settings that hold them."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from lichen_agent.settings import SettingsError
from lichen_resources.settings import Settings, load_settings
from lichen_resources.units import UnitError, parse_units

from tests.conftest import REPOSITORY

OVERLAY = REPOSITORY.overlays / "resource-agent"
TOTAL = 8 << 30


def declared() -> dict[str, Any]:
    options: dict[str, Any] = yaml.safe_load((OVERLAY / "overlay.yaml").read_text())["options"]
    return options


def rendered(name: str, **changed: Any) -> str:
    """A template of the overlay with the defaults of its options, as the builder renders it."""
    options = {option: about["default"] for option, about in declared().items()} | changed
    text = (OVERLAY / "tree" / name).read_text()
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(text).render(options=options)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    (path := tmp_path / "resources.toml").write_text(rendered("etc/lichen/resources.toml.j2"))
    return path


def test_template_gives_settings(good: Path) -> None:
    settings = load_settings(good, TOTAL)
    assert [(unit.role, unit.name) for unit in settings.units] == [
        ("inference", "inference.slice"),
        ("notebook", "classroom.slice"),
        ("batch", "batch.slice"),
    ]
    assert (settings.interval, settings.changes_per_minute, settings.port) == (5, 6, 9467)
    assert set(tomllib.loads(good.read_text())) == {field.name for field in fields(Settings)}
    assert settings.units[1].bounds["cpu"].high == 400
    assert settings.units[1].targets == {"cpu": 20, "io": 20, "memory": 5}
    memory = settings.units[2].bounds["memory"]
    assert (memory.low, memory.high) == (TOTAL // 5 >> 20 << 20, TOTAL)


def test_static_values_of_the_image_lie_within_the_bounds() -> None:
    """Of the slices that this overlay ships, and of the classroom's: both must agree."""
    folders = [OVERLAY, REPOSITORY.overlays / "jupyterhub"]
    for unit in parse_units(declared()["units"]["default"], TOTAL):
        (text,) = [
            path.read_text()
            for folder in folders
            if (path := folder / "tree/usr/lib/systemd/system" / unit.name).exists()
        ]
        for knob, name in (("cpu", "CPUWeight"), ("io", "IOWeight")):
            given = re.search(rf"(?m)^{name}=(\d+)$", text)
            static = int(given[1]) if given else 100
            assert unit.bounds[knob].low <= static <= unit.bounds[knob].high


@pytest.mark.parametrize("line", [*declared()["units"]["default"], r"batch a\x2db@1.service memory=512M-50%"])
def test_pattern_of_the_option_lets_pass_what_the_agent_reads(line: str) -> None:
    assert re.fullmatch(declared()["units"]["pattern"], line)
    parse_units([line], TOTAL)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("", "write one of inference, notebook, batch"),
        ("teacher a.slice cpu=1-2@3", "begins with 'teacher'"),
        ("batch", "'' is no name"),
        ("batch a.target cpu=1-2", "is no name of a slice"),
        ("batch ../a.slice cpu=1-2", "is no name"),
        ("batch --force.slice cpu=1-2", "is no name"),
        ("batch a\x1b.slice cpu=1-2", "is no name"),
        ("batch a.slice", "declares no knob"),
        ("batch a.slice cpu", "cpu has no bounds"),
        ("batch a.slice cpu=1-2@5", "cpu has a pressure"),
        ("batch a.slice cpu=9-2", "exchange them"),
        ("batch a.slice cpu=0-2", "'0' is no weight"),
        ("batch a.slice cpu=1-10001", "'10001' is no weight"),
        ("batch a.slice cpu=1%-2", "'1%' is no weight"),
        ("batch a.slice cpu=1-2 cpu=1-3", "cpu is there twice"),
        ("batch a.slice memory=1-101%", "'101%' is no size"),
        ("batch a.slice memory=x-y", "'x' is no size"),
        ("batch a.slice gpu=1-2", "'gpu=1-2' is not understood"),
        ("notebook a.slice cpu=1-2", "cpu has no pressure"),
        ("notebook a.slice cpu@5", "cpu has no bounds"),
        ("notebook a.slice memory=1G-2G@5", "memory is taken from batch only"),
        ("notebook a.slice memory@0", "more than 0"),
        ("notebook a.slice memory@101", "at most 100"),
        ("notebook a.slice memory@nan", "is not understood"),
    ],
)
def test_faults_are_told_with_what_to_do(line: str, complaint: str) -> None:
    with pytest.raises(UnitError, match=re.escape(complaint)) as told:
        parse_units([line], TOTAL)
    assert str(told.value).startswith(f"unit {line!r}: ")


def test_units_are_declared_once(good: Path) -> None:
    with pytest.raises(UnitError, match=r"a\.slice is declared twice"):
        parse_units(["batch a.slice cpu=1-2", "notebook a.slice memory@5"], TOTAL)


@pytest.mark.parametrize(
    ("name", "line", "complaint"),
    [
        ("port", "port = 0", "from 1 to 65535"),
        ("port", 'port = "9467"', "is to be int"),
        ("port", "port = true", "is to be int"),
        ("interval", "", "interval is missing"),
        ("interval", "interval = 5\nspeed = 1", "speed: there is no such setting"),
        ("interval", "interval =", "Invalid value"),
    ],
)
def test_faults_of_settings_are_told_with_their_place(good: Path, name: str, line: str, complaint: str) -> None:
    good.write_text(re.sub(rf"(?m)^{name} = .*$", line, good.read_text()))
    with pytest.raises(SettingsError, match=complaint) as told:
        load_settings(good, TOTAL)
    assert str(good) in str(told.value)


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    lines = ["batch a.slice", "batch b.slice cpu=0-1"]
    (path := tmp_path / "x.toml").write_text(rendered("etc/lichen/resources.toml.j2", units=lines, port=0))
    with pytest.raises(SettingsError) as told:
        load_settings(path, TOTAL)
    assert len(str(told.value).splitlines()) == 3


@pytest.mark.parametrize("units", ["units = 5", "units = [1]", 'units = "batch a.slice cpu=1-2"'])
def test_units_that_are_no_lines_are_refused(good: Path, units: str) -> None:
    good.write_text(re.sub(r"(?ms)^units = \[.*?^\]", units, good.read_text()))
    with pytest.raises(SettingsError, match="list of lines"):
        load_settings(good, TOTAL)


def test_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        load_settings(tmp_path / "resources.toml", TOTAL)
