"""The settings, as the overlay's template writes them."""

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
from lichen_guard.settings import CONFIGURATION, RULES, Settings, configuration, load_settings, rule_files

from tests.conftest import REPOSITORY

OVERLAY = REPOSITORY.overlays / "security-agent"


def rendered(name: str, **changed: Any) -> str:
    """A template of the overlay with the defaults of its options, as the builder renders it."""
    declared = yaml.safe_load((OVERLAY / "overlay.yaml").read_text())["options"]
    options = {option: about["default"] for option, about in declared.items()} | changed
    text = (OVERLAY / "tree" / name).read_text()
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(text).render(options=options)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    (path := tmp_path / "guard.toml").write_text(rendered("etc/lichen/guard.toml.j2"))
    return path


def test_template_gives_settings(good: Path) -> None:
    settings = load_settings(good)
    assert (settings.mode, settings.webhook, settings.port, settings.model) == ("observe", "", 9465, True)
    assert settings.false_alarms == 0.001
    assert set(tomllib.loads(good.read_text())) == {field.name for field in fields(Settings)}


def test_options_arrive(tmp_path: Path) -> None:
    given = {"mode": "enforce", "webhook": "https://x.example/a?b=c", "model": False, "false_alarms": 0.5}
    (path := tmp_path / "guard.toml").write_text(rendered("etc/lichen/guard.toml.j2", **given))
    settings = load_settings(path)
    assert {name: getattr(settings, name) for name in given} == given


def changed(path: Path, name: str, line: str) -> None:
    path.write_text(re.sub(rf"(?m)^{name} = .*$", line, path.read_text()))


@pytest.mark.parametrize(
    ("name", "line", "complaint"),
    [
        ("mode", 'mode = "deny"', "one of observe, enforce"),
        ("mode", "", "mode is missing"),
        ("port", "port = 0", "from 1 to 65535"),
        ("port", 'port = "9465"', "is to be int"),
        ("port", "port = true", "is to be int"),
        ("model", "model = 1", "is to be bool"),
        ("minimum_priority", 'minimum_priority = "loud"', "emergency, alert"),
        ("ring_bytes", "ring_bytes = 100000", "power of two"),
        ("webhook", 'webhook = "ftp://x/"', "no http or https URL"),
        ("false_alarms", "false_alarms = nan", "from 1e-05"),
        ("port", "port = 1\nspeed = 2", "speed: there is no such setting"),
        ("port", "port =", "Invalid value"),
    ],
)
def test_faults_are_told_with_their_place(good: Path, name: str, line: str, complaint: str) -> None:
    changed(good, name, line)
    with pytest.raises(SettingsError, match=complaint) as told:
        load_settings(good)
    assert str(good) in str(told.value)


@pytest.mark.parametrize(
    "value",
    ['"htps://x.example/S3CRET"', '"https://ann:S3CRET@/"', '"https://x.example:S3CRET/"', '["https://x/S3CRET"]'],
)
def test_a_mistyped_address_is_not_shown(good: Path, value: str) -> None:
    """The message goes into the journal, and who knows the address may tell alerts."""
    changed(good, "webhook", f"webhook = {value}")
    with pytest.raises(SettingsError, match="webhook: ") as told:
        load_settings(good)
    assert "S3CRET" not in str(told.value)


def test_all_faults_are_told_at_once(good: Path) -> None:
    changed(good, "port", "port = 0")
    changed(good, "mode", 'mode = "x"')
    with pytest.raises(SettingsError) as told:
        load_settings(good)
    assert len(str(told.value).splitlines()) == 2


def test_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        load_settings(tmp_path / "guard.toml")


def test_service_reads_the_copy_that_systemd_gives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert configuration() == CONFIGURATION
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/x")
    assert configuration() == Path("/run/credentials/x/guard.toml")


def test_rules_of_the_administrator_come_after_those_of_the_image(tmp_path: Path) -> None:
    first, second = tmp_path / "usr", tmp_path / "etc"
    for path in (first / "b.yaml", first / "a.yaml", second / "a.yaml", second / ".b.yaml", second / "c.yaml.old"):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert rule_files([first, tmp_path / "none", second]) == [first / "a.yaml", first / "b.yaml", second / "a.yaml"]
    assert [str(folder) for folder in RULES] == ["/usr/share/lichen/guard/rules", "/etc/lichen/guard/rules"]


@pytest.mark.parametrize("webhook", ["", "https://x.example/"])
def test_unit_reaches_the_network_only_for_a_webhook(webhook: str) -> None:
    unit = rendered("usr/lib/systemd/system/lichen-guard.service.j2", webhook=webhook).splitlines()
    assert ("IPAddressDeny=any" in unit) is not bool(webhook)
    assert "MemoryMax=768M" in unit
