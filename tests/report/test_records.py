"""How the tests of every image read what a guest says; the guest itself is asked by ``lichen test``."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import pytest

from builder.data.testresults import BootUnit
from tests.conftest import REPOSITORY


@pytest.fixture(scope="module")
def records() -> ModuleType:
    """The module, which lies outside of any package."""
    spec = importlib.util.spec_from_file_location("records", REPOSITORY.root / "tests/image/test_records.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            'tcp   LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=481,fd=6))',
            ("tcp", "0.0.0.0", 22, "sshd", True),
        ),
        (
            'tcp   LISTEN 0 511 *:443 *:* users:(("node /usr/bin/c",pid=9,fd=18))',
            ("tcp", "::", 443, "node /usr/bin/c", True),
        ),
        ("tcp   LISTEN 0 128 [::]:22 [::]:*", ("tcp", "::", 22, "", True)),
        (
            'udp   UNCONN 0 0 127.0.0.53%lo:53 0.0.0.0:* users:(("systemd-resolve",pid=1,fd=2),("other",pid=3,fd=4))',
            ("udp", "127.0.0.53%lo", 53, "systemd-resolve", False),
        ),
        (
            "udp   UNCONN 0 0 [fe80::5054:ff:fe12:3456]%enp0s3:546 [::]:*",
            ("udp", "fe80::5054:ff:fe12:3456%enp0s3", 546, "", True),
        ),
    ],
)
def test_socket(records: ModuleType, line: str, expected: tuple[str, str, int, str, bool]) -> None:
    port = records.socket_of(line)
    assert (port.protocol, port.address, port.port, port.process, port.outside) == expected


@pytest.mark.parametrize(
    ("begin", "active", "done", "took"),
    [
        (2_000_000, 3_500_000, 0, 1.5),
        (2_000_000, 0, 2_250_000, 0.25),  # a oneshot that is over was never active
        (2_000_000, 1_000_000, 0, 0.0),  # starting anew when it was asked
    ],
)
def test_unit(records: ModuleType, begin: int, active: int, done: int, took: float) -> None:
    shown = records.properties(
        f"Id=a.service\nInactiveExitTimestampMonotonic={begin}\nActiveEnterTimestampMonotonic={active}\n"
        f"InactiveEnterTimestampMonotonic={done}\n"
    )
    assert records.unit_of(shown) == BootUnit(name="a.service", start=2.0, seconds=took)
