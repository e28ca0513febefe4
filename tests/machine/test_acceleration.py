"""Acceleration is what runs a guest, not what opens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from builder.foundation.process import Runner
from builder.foundation.toolbox import Toolbox
from builder.steps.machine import HARDWARE, probe, recorded_probe
from builder.steps.machine.acceleration import firmware_complaint, probe_identity

NOWHERE = Toolbox(Path("/nonexistent"), Path("/nonexistent"))


def test_emulated_firmware_answers(toolbox: Toolbox) -> None:
    assert firmware_complaint(toolbox, Runner(), HARDWARE["amd64"], "tcg", patience=120) == ""


def test_silent_guest_is_no_acceleration(toolbox: Toolbox) -> None:
    assert "said nothing" in firmware_complaint(toolbox, Runner(), HARDWARE["amd64"], "tcg", patience=0.01)


def test_this_hosts_kvm_is_judged_with_a_reason(toolbox: Toolbox) -> None:
    found = probe(toolbox, Runner())
    assert found.kind in ("kvm", "tcg")
    assert "/dev/kvm" in found.reason


def test_missing_device_needs_no_guest(tmp_path: Path) -> None:
    found = probe(NOWHERE, Runner(), device=tmp_path / "kvm", host="x86_64")
    assert (found.kind, found.reason) == ("tcg", f"{tmp_path}/kvm does not open: No such file or directory")


def test_foreign_host_needs_no_guest() -> None:
    assert probe(NOWHERE, Runner(), host="aarch64").reason == "the host is no x86_64"
    assert probe(NOWHERE, Runner(), architecture="riscv64", host="x86_64").reason == "the host is no riscv64"


@pytest.mark.parametrize("changed", [{"boot_id": "b"}, {"toolbox": Toolbox(Path("/other"), Path("/m"))}])
def test_identity_changes_with_boot_and_tools(changed: dict[str, object]) -> None:
    before = {"boot_id": "a", "toolbox": NOWHERE, "architecture": "amd64"}
    assert probe_identity(**before) != probe_identity(**{**before, **changed})  # type: ignore[arg-type]


def test_record_serves_until_the_host_restarts(tmp_path: Path) -> None:
    record, boot_id, device = tmp_path / "record.json", tmp_path / "boot_id", tmp_path / "kvm"
    boot_id.write_text("first\n")

    def found() -> str:
        return recorded_probe(NOWHERE, Runner(), record, boot_id=boot_id, device=device).reason

    probed = found()
    record.write_text(json.dumps({**json.loads(record.read_text()), "reason": "from the record"}))
    assert found() == "from the record"
    boot_id.write_text("second\n")
    assert found() == probed
    record.write_text("{half")
    assert found() == probed
