"""What gets at credentials."""

from action import Action

CREDENTIALS = (
    Action(
        "read sensitive file untrusted", "T1003.008", ("Read sensitive file untrusted",), "cat /etc/shadow > /dev/null"
    ),
    Action(
        "read host key",
        "T1552.004",
        ("Read sensitive file untrusted",),
        "cat /etc/ssh/ssh_host_ed25519_key > /dev/null",
        "test -f /etc/ssh/ssh_host_ed25519_key",
        "no host key of that kind",
    ),
    Action("search private keys", "T1552.001", ("Search private keys or passwords",), "find /root -name id_rsa"),
    Action(
        "search passwords", "T1552.001", ("Search private keys or passwords",), "grep -r 'password=' /etc/ssh || true"
    ),
    Action(
        "read private SSH key", "T1552.004", ("Private SSH key read",), 'echo k > "$WORK/id_rsa"; cat "$WORK/id_rsa"'
    ),
    Action(
        "read environment of a process",
        "T1003.007",
        ("Memory or environment of a process read",),
        "cat /proc/1/environ > /dev/null",
    ),
    Action(
        "read memory of a process",
        "T1003.007",
        ("Memory or environment of a process read",),
        "dd if=/proc/1/mem of=/dev/null bs=1 count=1 2> /dev/null || true",
    ),
)
