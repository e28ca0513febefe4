"""Connections and listeners."""

from action import CONNECT, Action, in_unit, python, renamed

_LISTEN = """
import os, shutil, subprocess
program = os.path.join(os.environ["OPEN"], "listener")
with open(program, "w") as stream:
    stream.write("#!/usr/bin/python3\\nimport socket\\nsocket.create_server(('0.0.0.0', 0)).close()\\n")
os.chmod(program, 0o755)
subprocess.run([program], check=True)
"""

NETWORK = (
    Action("cloud metadata", "T1552.005", ("Cloud metadata asked",), python(CONNECT, "169.254.169.254 80")),
    Action(
        "unexpected outbound connection",
        "T1071",
        ("Connection from a service that needs none",),
        in_unit(
            "atd", "timeout 2 python3 -c 'import socket; socket.create_connection((\"192.0.2.1\", 80), 1)' || true"
        ),
        "! systemctl cat atd.service > /dev/null 2>&1",
        "atd is installed",
    ),
    Action("listening on a port from an open folder", "T1571", ("Shell or dropped program listens",), python(_LISTEN)),
    Action(
        "dropped program connects",
        "T1105",
        ("Dropped program connects",),
        'cp "$(readlink -f /usr/bin/python3)" "$OPEN/implant"; PYTHONHOME=/usr "$OPEN/implant" - 192.0.2.1 443'
        f" <<'CODE'\n{CONNECT}\nCODE",
    ),
    Action("packet capture", "T1040", ("Packets captured",), renamed("tcpdump", "-c true")),
    Action("network scan", "T1046", ("Network scanned",), renamed("nmap", "-c true")),
)
