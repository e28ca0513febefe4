"""What the last test run of an image left in ``IMAGE.test/``: ``tests.xml``, ``artifacts/boot.json``, ``ports.json``.

``tests.xml`` is JUnit as pytest writes it; the other two are written by the tests of every image.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Annotated, Literal
from xml.etree import ElementTree

from pydantic import BeforeValidator, Field, TypeAdapter

from builder.data.model import Frozen, Strings, _tuple
from builder.foundation.digest import canonical_json
from builder.foundation.errors import InputError, Problem

TESTS = "tests.xml"
BOOT = "boot.json"
PORTS = "ports.json"
_REMEDY = "run `lichen test PROFILE` again, or remove the file"

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Outcome = Literal["passed", "failed", "skipped"]


class BootUnit(Frozen):
    """One systemd unit: when it began to start, after the kernel did, and how long it took; both in seconds."""

    name: str
    start: Seconds
    seconds: Seconds


class Boot(Frozen):
    """``boot.json``: how long each part of a boot took, in seconds; None for a part that the machine did not have.

    Attributes:
        virtualization: as ``systemd-detect-virt`` names it: ``kvm``, or ``qemu`` for a processor in software.
        units: services, mounts, sockets and targets that began to start before the boot was over, in that order.
        critical_chain: lines of ``systemd-analyze critical-chain``, what the last unit waited for.
    """

    virtualization: str
    firmware: Seconds | None
    loader: Seconds | None
    kernel: Seconds
    initrd: Seconds | None
    userspace: Seconds
    units: Annotated[tuple[BootUnit, ...], BeforeValidator(_tuple)]
    critical_chain: Strings

    def text(self) -> str:
        """The file's exact content."""
        return canonical_json(self.model_dump(mode="json"))


class Port(Frozen):
    """A socket that waits for others: TCP that listens, UDP that is bound. ``process`` is empty for the kernel."""

    protocol: Literal["tcp", "udp"]
    address: str
    port: int = Field(ge=1, le=65535)
    process: str

    @property
    def outside(self) -> bool:
        """Whether other machines reach it: it is not bound to a loopback address."""
        address = ip_address(self.address.partition("%")[0])
        # A socket of both families shows an IPv4 address inside an IPv6 one.
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        return not (mapped or address).is_loopback


_PORTS = TypeAdapter(Annotated[tuple[Port, ...], BeforeValidator(_tuple)])


class TestCase(Frozen):
    """One finished test; ``text`` is why it failed or was skipped, ``seconds`` how long it took."""

    __test__ = False  # no class of tests, whatever its name

    name: str
    outcome: Outcome
    seconds: Seconds
    text: str = ""


def boot_of(times: dict[str, int], units: Sequence[BootUnit], chain: Sequence[str], virtualization: str) -> Boot:
    """The parts of a boot from the manager's timestamps, as org.freedesktop.systemd1(5) describes them.

    Args:
        times: microseconds of ``FirmwareTimestampMonotonic`` and the like. Firmware and loader count back from the
            kernel's start, the others forth from it; 0 stands for a part that there was not.
    """
    firmware, loader, initrd, userspace, finish = (
        times[f"{part}TimestampMonotonic"] for part in ("Firmware", "Loader", "InitRD", "Userspace", "Finish")
    )
    return Boot(
        virtualization=virtualization,
        firmware=seconds(firmware - loader) if firmware else None,
        loader=seconds(loader) if loader else None,
        kernel=seconds(initrd or userspace),
        initrd=seconds(userspace - initrd) if initrd else None,
        userspace=seconds(finish - userspace),
        units=tuple(sorted((u for u in units if u.start <= finish / 1e6), key=lambda unit: (unit.start, unit.name))),
        critical_chain=tuple(chain),
    )


def seconds(microseconds: int) -> float:
    """Seconds, to the millisecond."""
    return round(microseconds / 1e6, 3)


def ports_text(ports: Sequence[Port]) -> str:
    """The exact content of ``ports.json``."""
    ordered = sorted(ports, key=lambda port: (port.protocol, port.port, port.address))
    return canonical_json([port.model_dump(mode="json") for port in ordered])


def read_boot(path: Path) -> Boot:
    """Read ``boot.json``.

    Raises:
        InputError: missing or not of this format.
    """
    try:
        return Boot.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            Problem("the times of the last boot cannot be read", str(path), str(error), _REMEDY)
        ) from error


def read_ports(path: Path) -> tuple[Port, ...]:
    """Read ``ports.json``.

    Raises:
        InputError: missing or not of this format.
    """
    try:
        found = _PORTS.validate_json(path.read_text(encoding="utf-8"), strict=True)
        for port in found:
            ip_address(port.address.partition("%")[0])
    except (OSError, ValueError) as error:
        raise InputError(Problem("the list of open ports cannot be read", str(path), str(error), _REMEDY)) from error
    return found


def read_tests(path: Path) -> tuple[TestCase, ...]:
    """The tests of a JUnit file, in its order. A test whose clean-up failed too is there twice, as pytest writes it.

    Raises:
        InputError: missing or not JUnit.
    """
    try:
        # Our own test run wrote it, and expat limits how far entities may grow.
        root = ElementTree.fromstring(path.read_bytes())  # noqa: S314
        return tuple(_case(element) for element in root.iter("testcase"))
    except (OSError, ValueError, ElementTree.ParseError) as error:
        raise InputError(Problem("the test results cannot be read", str(path), str(error), _REMEDY)) from error


def _case(element: ElementTree.Element) -> TestCase:
    name = "::".join(filter(None, (element.get("classname"), element.get("name"))))
    took = float(element.get("time", "0"))
    kinds: tuple[tuple[str, Outcome], ...] = (("failure", "failed"), ("error", "failed"), ("skipped", "skipped"))
    for tag, outcome in kinds:
        if (child := element.find(tag)) is not None:
            text = child.get("message") or child.text or ""
            return TestCase(name=name, outcome=outcome, seconds=took, text=text)
    return TestCase(name=name, outcome="passed", seconds=took)
