"""What every boot of an image leaves for its report: how long it took, and who listens where.

The files are :data:`~builder.data.testresults.BOOT` and :data:`~builder.data.testresults.PORTS` among the artifacts.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from testinfra.host import Host

from builder.data.testresults import BOOT, PORTS, BootUnit, Port, boot_of, ports_text, seconds

MANAGER = [f"{part}TimestampMonotonic" for part in ("Firmware", "Loader", "InitRD", "Userspace", "Finish")]
UNIT = [f"{change}TimestampMonotonic" for change in ("InactiveExit", "ActiveEnter", "InactiveEnter")]
# What does work at boot. Devices are waited for, and each is there under a dozen names.
KINDS = ("service", "mount", "automount", "swap", "socket", "target")
# Local address and port, and the first process of users:(("sshd",pid=1,fd=3)).
SOCKET = re.compile(r'(?P<address>\S+):(?P<port>\d+)\s+\S+(?:\s+users:\(\("(?P<process>[^"]*)")?')


def properties(text: str) -> dict[str, str]:
    """``NAME=VALUE`` lines of systemctl."""
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def unit_of(shown: dict[str, str]) -> BootUnit:
    """When a unit began to start, and how long until it was active, or done."""
    begin, active, done = (int(shown[name]) for name in UNIT)
    end = active if active >= begin else max(done, begin)
    return BootUnit(name=shown["Id"], start=seconds(begin), seconds=seconds(end - begin))


def socket_of(line: str) -> Port:
    """One line of ``ss -H -lntup``."""
    protocol, _, _, _, rest = line.split(None, 4)
    found = SOCKET.match(rest)
    assert found, line
    # ss writes * for a socket of both families, and %INTERFACE behind addresses that are bound to one.
    address = "::" if found["address"] == "*" else found["address"].replace("[", "").replace("]", "")
    assert protocol in {"tcp", "udp"}, line
    return Port.model_validate(
        {"protocol": protocol, "address": address, "port": int(found["port"]), "process": found["process"] or ""}
    )


def test_boot_is_over_and_its_times_add_up(host: Host, artifacts: Path) -> None:
    """The boot went through an initrd. Firmware and loader tell their times only where the processor's clock is steady,
    which an emulated one's is not.
    """
    times = properties(host.check_output(f"systemctl show --property={','.join(MANAGER)}"))
    patterns = " ".join(f"'*.{kind}'" for kind in KINDS)
    shown = host.check_output(f"systemctl show --property=Id,{','.join(UNIT)} {patterns}")
    units = [unit_of(properties(block)) for block in shown.split("\n\n")]
    # An emulated processor with much to do answers later than the 25 s that D-Bus waits.
    settings = "SYSTEMD_BUS_TIMEOUT=600 SYSTEMD_COLORS=0 SYSTEMD_PAGER= LC_ALL=C.UTF-8"
    chain = host.check_output(f"{settings} systemd-analyze critical-chain --no-pager")
    lines = [line for line in chain.splitlines() if re.search(r" @\d", line)]
    boot = boot_of(
        {name: int(value) for name, value in times.items()},
        [unit for unit in units if unit.start > 0],
        lines,
        host.run("systemd-detect-virt").stdout.strip(),
    )
    (artifacts / BOOT).write_text(boot.text(), encoding="utf-8")
    assert boot.userspace > 0, "the boot is not over"
    assert boot.kernel > 0
    assert boot.initrd
    assert (boot.firmware is None) == (boot.loader is None)
    assert "sysinit.target" in {unit.name for unit in boot.units}
    assert lines


def test_only_declared_ports_are_open(host: Host, manifest: dict[str, Any], artifacts: Path) -> None:
    """Other machines reach no TCP port but those that an overlay declares, or that its option ``port`` names."""
    found = [socket_of(line) for line in host.check_output("ss -H -lntup").splitlines()]
    (artifacts / PORTS).write_text(ports_text(found), encoding="utf-8")
    chosen = {options["port"] for options in manifest["options"].values() if "port" in options}
    declared = {*manifest["ports"], *chosen}
    assert 22 in {port.port for port in found}, "ss does not show the port that we came in by"
    open_ports = [port for port in found if port.protocol == "tcp" and port.outside]
    assert [port for port in open_ports if port.port not in declared] == []
