"""The settings, as the overlay's template writes them."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest
from lichen_agent.settings import SettingsError
from lichen_sched.settings import Settings, load_settings

from tests.sched.making import made_settings, rendered


@pytest.fixture
def good(tmp_path: Path) -> Path:
    (path := tmp_path / "sched.toml").write_text(rendered("etc/lichen/sched.toml.j2"))
    return path


def test_template_gives_settings(good: Path) -> None:
    settings = load_settings(good)
    assert (settings.mode, settings.predictor, settings.port, settings.learning) == ("off", "auto", 9466, True)
    assert set(tomllib.loads(good.read_text())) == {field.name for field in fields(Settings)}


def test_options_arrive(tmp_path: Path) -> None:
    given = {"mode": "active", "predictor": "trees", "slice_max_us": 7000, "learning": False, "latency_factor": 1.5}
    (path := tmp_path / "sched.toml").write_text(rendered("etc/lichen/sched.toml.j2", **given))
    settings = load_settings(path)
    assert {name: getattr(settings, name) for name in given} == given


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("mode", '"on"', "one of off, observe, active"),
        ("mode", "false", "is to be str"),
        ("predictor", '"oracle"', "one of auto, constant"),
        ("slice_min_us", "0", "from 100 to 1000000"),
        ("slice_min_us", "30000", "is above slice_max_us = 20000"),
        ("preempt_us", "-1", "from 0 to"),
        ("latency_factor", "nan", "from 1.0 to"),
        ("port", "true", "is to be int"),
        ("ring_bytes", "70000", "power of two"),
        ("learning", "1", "is to be bool"),
    ],
)
def test_fault_is_told(tmp_path: Path, name: str, value: str, complaint: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(complaint)) as caught:
        made_settings(tmp_path, **{name: value})
    assert f"sched.toml: {name} = " in str(caught.value)


def test_all_faults_are_told_at_once(good: Path) -> None:
    good.write_text(good.read_text().replace("port = 9466", "prot = 9466").replace('mode = "off"', 'mode = "x"'))
    with pytest.raises(SettingsError) as caught:
        load_settings(good)
    told = str(caught.value)
    assert "prot: there is no such setting" in told
    assert "port is missing" in told
    assert "mode = 'x'" in told


@pytest.mark.parametrize("text", ["mode = ", "\x00", None])
def test_no_toml(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "sched.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SettingsError, match=r"sched\.toml"):
        load_settings(path)


def test_unit_is_rendered() -> None:
    unit = rendered("usr/lib/systemd/system/lichen-sched.service.j2", memory="300M")
    assert "MemoryMax=300M\n" in unit
