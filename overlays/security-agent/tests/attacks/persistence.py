"""What stays after an attack."""

from action import Action, python

_WRITABLE = {"needs": "touch /usr/bin/.attack && rm /usr/bin/.attack", "why": "the root file system is read-only"}
_BECOME_ROOT = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
assert libc.setresuid(65534, 65534, 0) == 0
assert libc.setresuid(-1, 0, 0) == 0
"""

PERSISTENCE = (
    Action(
        "modify binary directory",
        "T1554",
        ("System programs changed",),
        "touch /usr/bin/attack; rm -f /usr/bin/attack",
        **_WRITABLE,
    ),
    Action("write below etc", "T1546", ("Write below etc",), "echo > /etc/attack.conf; rm /etc/attack.conf"),
    Action(
        "scheduled job",
        "T1053.003",
        ("Scheduled job changed",),
        "mkdir -p /etc/cron.d; echo > /etc/cron.d/attack; rm /etc/cron.d/attack",
    ),
    Action(
        "systemd service",
        "T1543.002",
        ("Service definition changed",),
        "echo > /etc/systemd/system/attack.service; rm /etc/systemd/system/attack.service",
    ),
    Action(
        "login script",
        "T1546.004",
        ("Login script changed",),
        "echo > /etc/profile.d/attack.sh; rm /etc/profile.d/attack.sh",
    ),
    Action(
        "loader preload",
        "T1574.006",
        ("Loader preload changed",),
        "echo > /etc/ld.so.preload; rm -f /etc/ld.so.preload",
    ),
    Action(
        "PAM configuration", "T1556.003", ("Login checks changed",), "echo > /etc/pam.d/attack; rm /etc/pam.d/attack"
    ),
    Action(
        "authorized_keys",
        "T1098.004",
        ("SSH keys of a person changed",),
        'mkdir -p "$WORK/.ssh"; echo > "$WORK/.ssh/authorized_keys"',
    ),
    Action(
        "account files",
        "T1098",
        ("Account or privilege files changed",),
        "mkdir -p /etc/sudoers.d; echo > /etc/sudoers.d/attack; rm /etc/sudoers.d/attack",
    ),
    Action(
        "user added",
        "T1136.001",
        ("User added or given more rights",),
        "useradd attacker && userdel attacker",
        "command -v useradd",
        "no useradd",
    ),
    Action("setuid bit", "T1548.001", ("Setuid bit set",), 'cp /usr/bin/true "$OPEN/shell"; chmod u+s "$OPEN/shell"'),
    Action("root rights without su", "T1068", ("Root rights without su",), python(_BECOME_ROOT)),
    Action(
        "root rights by a setuid shell",
        "T1548.001",
        ("Root rights without su",),
        'chmod 711 "$WORK"; cp /usr/bin/dash "$WORK/shell"; chmod 4755 "$WORK/shell"; '
        'setpriv --reuid 65534 --regid 65534 --clear-groups "$WORK/shell" -p -c "id -u"',
        "! findmnt --noheadings --output OPTIONS --target /var/lib | grep -qw nosuid",
        "/var/lib is mounted nosuid",
    ),
    Action(
        "module insertion",
        "T1547.006",
        ("Kernel module from an unusual place", "Kernel module loaded by hand"),
        'cp $(find /usr/lib/modules -name "dummy.ko*") "$WORK/"; insmod "$WORK"/dummy.ko*; rmmod dummy || true',
        "find /usr/lib/modules -name 'dummy.ko*' | grep .",
        "no module to insert",
    ),
)
