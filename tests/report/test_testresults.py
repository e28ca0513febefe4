"""What a test run leaves, read and written."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.data.testresults import BootUnit, Port, boot_of, ports_text, read_boot, read_ports, read_tests
from builder.foundation.errors import InputError
from tests.report import sample

# Microseconds: firmware and loader count back from the kernel's start, the others forth from it.
TIMES = {
    "FirmwareTimestampMonotonic": 5_000_000,
    "LoaderTimestampMonotonic": 1_000_000,
    "InitRDTimestampMonotonic": 3_000_000,
    "UserspaceTimestampMonotonic": 5_000_000,
    "FinishTimestampMonotonic": 15_000_000,
}
UNITS = [
    BootUnit(name="late.timer", start=15.5, seconds=0.0),
    BootUnit(name="b.service", start=6.0, seconds=9.0),
    BootUnit(name="a.service", start=6.0, seconds=1.0),
]


def test_parts_of_a_boot_add_up(tmp_path: Path) -> None:
    boot = boot_of(TIMES, UNITS, ["b.service @6s"], "kvm")
    parts = (boot.firmware, boot.loader, boot.kernel, boot.initrd, boot.userspace)
    assert parts == (4.0, 1.0, 3.0, 2.0, 10.0)
    assert [unit.name for unit in boot.units] == ["a.service", "b.service"], "what began later is no part of the boot"
    (tmp_path / "boot.json").write_text(boot.text())
    assert read_boot(tmp_path / "boot.json") == boot


def test_machine_without_firmware_and_initrd_has_a_boot_too() -> None:
    missing = dict.fromkeys(("FirmwareTimestampMonotonic", "LoaderTimestampMonotonic", "InitRDTimestampMonotonic"), 0)
    boot = boot_of(TIMES | missing, [], [], "")
    assert (boot.firmware, boot.loader, boot.kernel, boot.initrd, boot.userspace) == (None, None, 5.0, None, 10.0)


@pytest.mark.parametrize(
    ("address", "outside"),
    [
        ("0.0.0.0", True),
        ("::", True),
        ("10.0.2.15%eth0", True),
        ("fe80::1%eth0", True),
        ("127.0.0.1", False),
        ("127.0.0.53%lo", False),
        ("::1", False),
        ("::ffff:127.0.0.1", False),
    ],
)
def test_loopback_is_inside(address: str, outside: bool) -> None:
    assert Port(protocol="tcp", address=address, port=1, process="").outside is outside


def test_ports_are_written_in_order(tmp_path: Path) -> None:
    path = tmp_path / "ports.json"
    path.write_text(ports_text(tuple(reversed(sample.OPEN))))
    assert [(port.protocol, port.port) for port in read_ports(path)] == [
        ("tcp", 22),
        ("tcp", 443),
        ("udp", 53),
        ("udp", 9999),
    ]


def test_outcome_of_each_test(tmp_path: Path) -> None:
    path = tmp_path / "tests.xml"
    path.write_text(sample.JUNIT)
    assert [(case.name, case.outcome, case.seconds, case.text) for case in read_tests(path)] == [
        ("tests.image.test_all::test_good", "passed", 1.25, ""),
        ("tests.image.test_all::test_bad", "failed", 2.0, "assert 1 == 2"),
        ("overlays.web::test_broken", "failed", 0.5, "no fixture"),
        ("overlays.web::test_left", "skipped", 0.0, "no browser"),
    ]


def test_entities_do_not_grow_without_end(tmp_path: Path) -> None:
    """A few lines that would unfold to gigabytes are refused."""
    levels = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
    path = tmp_path / "tests.xml"
    path.write_text(f'<!DOCTYPE t [<!ENTITY e0 "{"lol" * 100}">{levels}]><testsuites>&e11;</testsuites>')
    with pytest.raises(InputError, match="the test results cannot be read"):
        read_tests(path)


@pytest.mark.parametrize("time", ["soon", "nan", "-1"])
def test_impossible_duration_is_refused(tmp_path: Path, time: str) -> None:
    path = tmp_path / "tests.xml"
    path.write_text(f'<testsuites><testcase name="a" time="{time}"/></testsuites>')
    with pytest.raises(InputError, match="the test results cannot be read"):
        read_tests(path)
