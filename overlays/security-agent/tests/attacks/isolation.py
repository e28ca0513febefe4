"""Attacks on the kernel, and out of what is apart."""

from action import Action, python

_BPF = """
import ctypes, os, platform, struct
# r0 = 0; exit
program = ctypes.create_string_buffer(bytes.fromhex("b7000000000000009500000000000000"))
licence = ctypes.create_string_buffer(b"GPL")
attributes = struct.pack("<IIQQ", 1, 2, ctypes.addressof(program), ctypes.addressof(licence)).ljust(128, b"\\0")
number = 321 if platform.machine() == "x86_64" else 280
assert ctypes.CDLL(None, use_errno=True).syscall(number, 5, attributes, len(attributes)) >= 0, os.strerror(
    ctypes.get_errno())
"""
_UNIX = """
import socket, sys
try:
    socket.socket(socket.AF_UNIX).connect(sys.argv[1])
except OSError:
    pass
"""

ISOLATION = (
    Action(
        "unshare namespaces",
        "T1611",
        ("Namespace changed",),
        python("import os\nos.unshare(os.CLONE_NEWNS)"),
        "python3 -c 'import os; os.unshare'",
        "needs Python 3.12",
    ),
    Action("enter namespaces of init", "T1611", ("Namespace entered with a tool",), "nsenter -t 1 -m true"),
    Action(
        "mount by a dropped program",
        "T1611",
        ("Mount by another program",),
        python(
            "import ctypes, os\n"
            "libc = ctypes.CDLL(None, use_errno=True)\n"
            "place = os.environ['WORK'].encode()\n"
            "assert libc.mount(b'attack', place, b'tmpfs', 0, None) == 0\n"
            "assert libc.umount(place) == 0"
        ),
    ),
    Action("BPF program", "T1014", ("BPF program loaded",), python(_BPF)),
    Action(
        "kernel setting that runs programs",
        "T1611",
        ("Kernel setting that runs programs changed",),
        'cat /proc/sys/kernel/core_pattern > "$WORK/old"; cat "$WORK/old" > /proc/sys/kernel/core_pattern',
    ),
    Action(
        "container runtime's socket",
        "T1610",
        ("Container runtime's socket used",),
        python(_UNIX, "/run/podman/podman.sock"),
    ),
)
