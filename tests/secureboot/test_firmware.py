"""What firmware that enforces Secure Boot starts, and what it refuses: guests of a few bytes, signed as UKIs are."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from builder.foundation.errors import GuestTestError, InputError
from builder.foundation.process import Runner
from builder.foundation.toolbox import Toolbox
from builder.steps.machine import Machine, MachineSpec
from builder.steps.secureboot import bears_signature, der, why_refused
from tests.machine import tinyguest
from tests.secureboot.conftest import Keys, make_set

RAN = "the program runs\r\n"


def sign(program: bytes, keys: Keys, folder: Path, toolbox: Toolbox) -> bytes:
    folder.mkdir(exist_ok=True)
    (folder / "in.efi").write_bytes(program)
    for name in ("secure-boot.key", "secure-boot.pem"):
        (folder / name).write_bytes((keys / name).read_bytes())
    words = ["/usr/lib/systemd/systemd-sbsign", "sign", f"--private-key={folder}/secure-boot.key"]
    words += [f"--certificate={folder}/secure-boot.pem", f"--output={folder}/out.efi", f"{folder}/in.efi"]
    Runner().run(toolbox.command(words, writable=[folder]))
    return (folder / "out.efi").read_bytes()


def console(toolbox: Toolbox, program: bytes, trusted: Keys, folder: Path) -> str:
    """What a machine says until it ends by itself; the verdict of :meth:`Machine.check` in place of a timeout."""
    folder.mkdir(exist_ok=True)
    image = tinyguest.disk(folder / "image.raw", program, toolbox)
    spec = MachineSpec(image, "tcg", memory=256, cpus=1, trusted=der(trusted.pem("secure-boot")))
    with Machine(toolbox, spec, folder / "machine") as machine:
        while machine.running():
            machine.check()
            time.sleep(0.2)
        return machine.console_text()


def test_signed_program_runs_and_no_other_does(keys: Keys, toolbox: Toolbox, tmp_path: Path) -> None:
    plain = tinyguest.program(RAN, tinyguest.POWER_OFF)
    good = sign(plain, keys, tmp_path / "sign", toolbox)
    pem = keys.pem("secure-boot")
    assert bears_signature(tmp_path / "sign/out.efi", pem)
    assert why_refused(tmp_path / "sign/out.efi", pem) == ""
    assert RAN.strip() in console(toolbox, good, keys, tmp_path / "good")
    at = good.index(RAN.encode())
    tampered = good[:at] + b"T" + good[at + 1 :]
    strange = sign(plain, make_set(tmp_path / "other"), tmp_path / "sign", toolbox)
    for name, program, why in (
        ("unsigned", plain, "it is not signed"),
        ("tampered", tampered, "its signature is not of these bytes"),
        ("strange", strange, "another key signed it"),
    ):
        with pytest.raises(GuestTestError, match="the firmware refused what it was to boot") as caught:
            console(toolbox, program, keys, tmp_path / name)
        (problem,) = caught.value.problems
        assert "Access Denied" in problem.why
        assert RAN.strip().lower() not in problem.why.lower()
        assert why_refused(tmp_path / name / "boot.efi", pem).startswith(why)
        assert bears_signature(tmp_path / name / "boot.efi", pem) is (name == "tampered")


def test_where_no_firmware_enforces_it_that_is_said(keys: Keys, tmp_path: Path) -> None:
    spec = MachineSpec(tmp_path, "tcg", architecture="riscv64", trusted=der(keys.pem("secure-boot")))
    with pytest.raises(InputError, match="Secure Boot cannot be enforced on riscv64"):
        _ = spec.hardware


def test_damaged_programs_bear_no_signature(keys: Keys, toolbox: Toolbox, tmp_path: Path) -> None:
    good = sign(tinyguest.program(RAN), keys, tmp_path / "sign", toolbox)
    uki, pem = tmp_path / "damaged.efi", keys.pem("secure-boot")
    for content in (b"", b"MZ", good[:300], good[:-1000], b"text" * 1000):
        uki.write_bytes(content)
        assert not bears_signature(uki, pem)
        assert why_refused(uki, pem)
