"""What hides an attack, or destroys."""

from action import Action, python

_OPEN_BPF = """
import ctypes, platform, struct
number = 321 if platform.machine() == "x86_64" else 280
bpf = ctypes.CDLL(None).syscall
at = ctypes.create_string_buffer(128)
# Every map of the machine: what follows (BPF_MAP_GET_NEXT_ID), and then that one (BPF_MAP_GET_FD_BY_ID).
while bpf(number, 12, at, 128) == 0:
    at[:4] = at[4:8]
    bpf(number, 14, ctypes.create_string_buffer(at[:4], 128), 128)
"""

DESTRUCTION = (
    Action(
        "clear logs",
        "T1070.002",
        ("Logs cleared",),
        "echo > /var/log/attack.log; : > /var/log/attack.log; rm /var/log/attack.log",
    ),
    Action("shorten the journal", "T1070.002", ("Journal shortened by hand",), "journalctl --vacuum-time=10y --quiet"),
    Action(
        "delete shell history",
        "T1070.003",
        ("Shell history removed",),
        'echo > "$WORK/.bash_history"; rm "$WORK/.bash_history"',
    ),
    Action(
        "symlink over sensitive file", "T1555", ("Symlink over sensitive file",), 'ln -s /etc/shadow "$OPEN/harmless"'
    ),
    Action(
        "hard link to sensitive file",
        "T1555",
        ("Hard link to sensitive file",),
        "ln /etc/shadow /etc/attack; rm -f /etc/attack",
    ),
    Action(
        "bulk removal",
        "T1485",
        ("Data destroyed in bulk",),
        'for i in 1 2 3; do echo > "$WORK/$i"; done; shred -u "$WORK"/[123]',
    ),
    Action(
        "signal to the agent",
        "T1562.001",
        ("Signal to the agent",),
        'kill -URG "$(systemctl show --property MainPID --value lichen-guard.service)"',
    ),
    Action(
        "security tool switched off",
        "T1562.001",
        ("Security tool switched off",),
        "systemctl stop auditd.service 2> /dev/null || true",
    ),
    Action(
        "agent's settings changed",
        "T1562.001",
        ("Agent's settings changed",),
        "mkdir -p /etc/lichen/guard; echo > /etc/lichen/guard/attack; rm /etc/lichen/guard/attack",
    ),
    Action("agent's BPF opened", "T1562.001", ("Agent's BPF opened",), python(_OPEN_BPF)),
    Action(
        "disk written directly",
        "T1561",
        ("Disk written directly",),
        "dd if=/dev/null of=/dev/vda conv=notrunc",
        "test -b /dev/vda",
        "no /dev/vda",
    ),
)
