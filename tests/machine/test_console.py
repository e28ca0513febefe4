"""What consoles say."""

from __future__ import annotations

import pytest

from builder.steps.machine.console import TAIL_WIDTH, diagnose, tail

PANIC = """\
[    6.047080] /dev/root: Can't open blockdev\r
[    6.048284] VFS: Cannot open root device "/dev/nope" or unknown-block(0,0): error -6\r
[    6.048611] \r
[    6.061635] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\r
[    6.062307] CPU: 0 UID: 0 PID: 1 Comm: swapper/0 Not tainted 6.12.107+deb13-amd64 #1  Debian 6.12.107-1\r
"""
SHELL = (
    '\x1b[2J\x1b[01;01HBdsDxe: starting Boot0001 "EFI Internal Shell" from Fv(7CB8BDC9)\r\n'
    "\x1b[2J\x1b[01;01H\x1b[01;01HUEFI Interactive Shell v2.2\r\n\x1b[06;01H\x1b[1m\x1b[33mShell> \x1b[0m"
)
NO_DEVICE = (
    "BdsDxe: No bootable option or device was found.\r\nBdsDxe: Press any key to enter the Boot Manager Menu.\r\n"
)
EMERGENCY = (
    "[\x1b[0;1;31mDEPEND\x1b[0m] Dependency failed for \x1b[0;1;39msysroot.mount\x1b[0m - /sysroot.\r\n"
    'You are in emergency mode. After logging in, type "journalctl -xb" to view\r\n'
    'system logs, "systemctl reboot" to reboot, or "exit" to continue bootup.\r\n'
    "Cannot open access to console, the root account is locked.\r\n"
)
FIRST_BOOT = "Welcome to your new installation of Debian GNU/Linux 13 (trixie)!\r\n\r\n-- Press any key to proceed --"
HEALTHY = (
    'BdsDxe: failed to load Boot0001 "UEFI Misc Device": Not Found\r\n'
    'BdsDxe: starting Boot0002 "Linux Boot Manager" from HD(1,GPT)/\\EFI\\systemd\\systemd-bootx64.efi\r\n'
    "[    0.000000] Linux version 6.12.107+deb13-amd64\r\n"
    "[    1.1] Kernel command line: console=ttyS0 panic=10 systemd.show_status=1\r\n"
    "[\x1b[0;32m  OK  \x1b[0m] Reached target \x1b[0;1;39memergency-readiness.target\x1b[0m.\r\n"
    "\x1b[!p\x1b]104\x07\x1b[?7h\x1b[6n\x1b[32766;32766H\x1b[6n\r\nDebian GNU/Linux 13 small ttyS0\r\n\r\nsmall login: "
)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (PANIC, "kernel panicked"),
        (SHELL, "nothing to boot"),
        (NO_DEVICE, "nothing to boot"),
        (EMERGENCY, "emergency mode"),
        (FIRST_BOOT, "first-boot questions"),
        (PANIC + SHELL, "kernel panicked"),
        (SHELL + PANIC, "nothing to boot"),
    ],
)
def test_first_fatal_word_counts(text: str, what: str) -> None:
    found = diagnose(text)
    assert found is not None
    assert what in found.what


@pytest.mark.parametrize("text", ["", HEALTHY])
def test_healthy_console_is_no_case(text: str) -> None:
    assert diagnose(text) is None


def test_tail_is_readable() -> None:
    assert tail(HEALTHY, 2) == "Debian GNU/Linux 13 small ttyS0\nsmall login:"
    assert tail(EMERGENCY, 4).splitlines()[0] == "[DEPEND] Dependency failed for sysroot.mount - /sysroot."
    assert tail("x" * 1000) == "x" * TAIL_WIDTH
    assert tail("\x1b[2J\r\n \r\n") == ""
