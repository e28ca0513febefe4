"""The sensor in the running kernel, with real programs that do real things."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from lichen_guard.event import Event
from lichen_guard.sensor import Sensor, SensorError
from lichen_guard.watch import Denial, Interest, Watch

from tests.guard.kernel import Stage, compiled, only, why_not
from tests.guard.records import record

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())

ALL = Interest.READ | Interest.WRITE | Interest.CHANGE | Interest.REMOVE
OPEN, EXEC = "lsm/file_open", "tp_btf/sched_process_exec"


@pytest.fixture(scope="module")
def object_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("bpf"))


@pytest.fixture(scope="module")
def loaded(object_file: Path) -> Iterator[Sensor]:
    with Sensor(object_file, ring_bytes=4 << 20) as sensor:
        yield sensor


@pytest.fixture
def stage(loaded: Sensor) -> Iterator[Stage]:
    yield Stage(loaded)
    loaded.enforce(False)
    loaded.set_denials([])
    loaded.set_watches([])


@pytest.fixture
def watched(stage: Stage, tmp_path: Path) -> Path:
    """A folder of which everything is told."""
    stage.needs(OPEN)
    folder = tmp_path / "watched"
    folder.mkdir()
    stage.sensor.set_watches([Watch("prefix", str(folder), ALL)])
    return folder


def test_every_hook_is_attached_or_says_why_not(stage: Stage) -> None:
    assert stage.sensor.hooks[EXEC] == "attached"
    assert OPEN in stage.sensor.hooks
    assert all(stage.sensor.hooks.values())


def test_exec(stage: Stage, tmp_path: Path) -> None:
    [event] = only(stage.run("/bin/echo", "one", "", "x" * 5000, cwd=tmp_path, stdout=subprocess.DEVNULL), "exec")
    process = event.process
    assert process.exe == os.path.realpath("/bin/echo")
    assert process.arguments == ("/bin/echo", "one", "", "x" * 4096)
    assert process.cwd == str(tmp_path)
    assert (process.name, process.script, process.in_memory, process.uid) == ("echo", "", False, os.geteuid())
    assert (process.parent_pid, process.session) == (os.getpid(), os.getsid(0))
    assert event.thread == process.pid


def test_long_arguments_are_cut(stage: Stage) -> None:
    [event] = only(stage.run("/bin/true", *["y" * 4000] * 10), "exec")
    assert sum(map(len, event.process.arguments)) <= 16384
    assert len(event.process.arguments) == 6, "four whole ones and the beginning of the fifth"


def test_a_script_and_its_interpreter(stage: Stage, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\ncd /; exec ./bin/true\n")
    script.chmod(0o755)
    first, second = only(stage.run("./script", "argument", cwd=tmp_path), "exec")
    assert first.process.script == str(script)
    assert first.process.exe == os.path.realpath("/bin/sh")
    assert first.process.arguments[-1] == "argument"
    assert (second.process.script, second.process.exe) == ("", os.path.realpath("/bin/true"))
    assert second.process.cwd == "/"
    assert second.process.parent_pid == os.getpid()


def test_a_program_in_memory(stage: Stage) -> None:
    code = """
fd = os.memfd_create("hidden")
os.write(fd, open("/bin/true", "rb").read())
os.execve(fd, ["innocent"], {})
"""
    event = only(stage.python(code), "exec")[-1]
    assert (event.process.exe, event.process.in_memory) == ("/memfd:hidden", True)


def test_a_removed_program(stage: Stage, tmp_path: Path) -> None:
    program = tmp_path / "gone"
    shutil.copy("/bin/true", program)
    event = only(
        stage.python("fd = os.open(a[0], os.O_RDONLY); os.unlink(a[0]); os.execve(fd, ['x'], {})", program), "exec"
    )[-1]
    assert (event.process.exe, event.process.in_memory) == (str(program), True)


def test_a_child_that_starts_nothing_has_its_parents_program(stage: Stage, watched: Path) -> None:
    events = only(stage.python("p = os.fork()\nif not p: open(a[0], 'w')\nelse: os.wait()", watched / "f"), "open")
    assert events[0].process.exe == os.path.realpath(sys.executable)
    assert events[0].process.parent is not None
    assert events[0].process.parent.exe == events[0].process.exe


def test_opens(stage: Stage, watched: Path) -> None:
    file = watched / "file"
    events = stage.python("open(a[0], 'w'); open(a[0]); open(a[0], 'r+')", file)
    opens = only(events, "open")
    assert [event.path for event in opens] == [str(file)] * 3
    assert [event.flags & os.O_ACCMODE for event in opens] == [os.O_WRONLY, os.O_RDONLY, os.O_RDWR]
    assert opens[0].flags & os.O_CREAT
    assert [event.path for event in only(events, "create")] == [str(file)]


def test_what_nobody_watches_is_silent(stage: Stage, watched: Path) -> None:
    beside = watched.parent / "watchedbeside"
    code = "open(a[0], 'w'); open(a[0]); os.chmod(a[0], 0); os.rename(a[0], a[0] + 'x'); os.unlink(a[0] + 'x')"
    assert {event.kind for event in stage.python(code, beside)} == {"exec"}


def test_only_what_is_of_interest(stage: Stage, watched: Path) -> None:
    (watched / "quiet").mkdir()
    stage.sensor.set_watches(
        [Watch("prefix", str(watched), Interest.WRITE), Watch("prefix", str(watched / "quiet"), Interest(0))]
    )
    events = stage.python("open(a[0], 'w'); open(a[0]); open(a[1], 'w')", watched / "f", watched / "quiet/f")
    assert [(event.kind, event.path) for event in events[1:]] == [("open", str(watched / "f"))]


def test_names(stage: Stage, tmp_path: Path) -> None:
    stage.needs(OPEN)
    stage.sensor.set_watches([Watch("name", "id_rsa", Interest.READ), Watch("name", ".ssh", Interest.READ)])
    (tmp_path / ".ssh").mkdir()
    for name in ("id_rsa", "id_rsa2", ".ssh/known"):
        (tmp_path / name).touch()
    events = stage.python("[open(f) for f in a]", *(tmp_path / name for name in ("id_rsa", "id_rsa2", ".ssh/known")))
    assert [event.path for event in only(events, "open")] == [str(tmp_path / "id_rsa"), str(tmp_path / ".ssh/known")]


@pytest.mark.parametrize("way", ["folder", "exchange", "file", "name", "link", "watches"])
def test_no_stale_verdict_hides_a_file(stage: Stage, watched: Path, way: str) -> None:
    stage.needs("fexit/d_move", "fexit/d_exchange")
    folder, other = watched.parent / "folder", watched / "other"
    folder.mkdir()
    other.mkdir()
    (folder / "file").touch()
    assert not only(stage.python("[open(a[0]) for _ in range(3)]", folder / "file"), "open")
    seen = watched / "folder/file"
    if way == "folder":
        folder.rename(watched / "folder")
    elif way == "exchange":
        subprocess.run(
            [sys.executable, "-c", "import ctypes, sys; a = [x.encode() for x in sys.argv[1:]]; "
             "sys.exit(ctypes.CDLL(None).renameat2(-100, a[0], -100, a[1], 2))", folder, other],
            check=True,
        )  # fmt: skip
        seen = other / "file"
    elif way == "file":
        seen = watched / "file"
        (folder / "file").rename(seen)
    elif way == "name":
        stage.sensor.set_watches([Watch("name", "id_rsa", ALL)])
        stage.python("open(a[0])", folder / "file")
        seen = folder / "id_rsa"
        (folder / "file").rename(seen)
    elif way == "link":
        seen = watched / "file"
        seen.hardlink_to(folder / "file")
    else:
        stage.sensor.set_watches([Watch("prefix", str(folder), ALL)])
        seen = folder / "file"
    assert [event.path for event in only(stage.python("open(a[0])", seen), "open")] == [str(seen)]


def test_a_path_that_is_too_long_keeps_its_beginning(stage: Stage, watched: Path) -> None:
    code = "os.chdir(a[0])\nfor _ in range(30): os.mkdir('d' * 200); os.chdir('d' * 200)\nopen('file', 'w')"
    [event] = only(stage.python(code, watched), "open")
    assert event.path.startswith(f"{watched}/dddd")
    assert event.path.endswith("d/…")
    assert len(event.path) < 4100


def test_changes(stage: Stage, watched: Path) -> None:
    code = """
os.chdir(a[0])
os.mkdir("folder"); os.mkfifo("fifo", 0o600); os.symlink("/somewhere else", "symlink")
os.link("fifo", "link"); os.chmod("fifo", 0o4711); os.chown("fifo", 65534, -1)
os.rename("fifo", "../moved"); os.unlink("link"); os.rmdir("folder")
os.truncate("file", 0)
"""
    (watched / "file").touch()
    told = [
        (e.kind, os.path.basename(e.path), os.path.basename(e.target), e.mode, e.owner)
        for e in stage.python(code, watched)
    ]
    assert told[1:] == [
        ("create", "folder", "", 0o40777, None),
        ("create", "fifo", "", 0o10600, None),
        ("symlink", "symlink", "somewhere else", None, None),
        ("link", "fifo", "link", None, None),
        ("setattr", "fifo", "", 0o4711, None),
        ("setattr", "fifo", "", None, 65534),
        ("rename", "fifo", "moved", None, None),
        ("unlink", "link", "", None, None),
        ("unlink", "folder", "", None, None),
        ("open", "file", "", None, None),
    ]  # fmt: skip


def test_network(stage: Stage) -> None:
    stage.needs("lsm/socket_connect", "lsm/socket_listen")
    code = """
import socket
s = socket.create_server(("127.0.0.1", 0)); c = socket.create_connection(s.getsockname()); print(s.getsockname()[1])
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.connect(("127.0.0.2", 53))
x = socket.socket(socket.AF_UNIX); x.bind("\\0guard-test"); x.listen()
y = socket.socket(socket.AF_UNIX); y.connect("\\0guard-test")
z = socket.socket(socket.AF_INET6); z.bind(("::1", 0)); z.listen()
m = socket.socket(socket.AF_INET6); m.connect(("::ffff:127.0.0.1", s.getsockname()[1]))
"""
    events = [e for e in stage.python(code) if e.kind in {"connect", "listen"}]
    port = events[0].port
    assert [(e.kind, e.family, e.transport, e.address) for e in events] == [
        ("listen", "ipv4", "tcp", "127.0.0.1"),
        ("connect", "ipv4", "tcp", "127.0.0.1"),
        ("connect", "ipv4", "udp", "127.0.0.2"),
        ("listen", "unix", "", "@guard-test"),
        ("connect", "unix", "", "@guard-test"),
        ("listen", "ipv6", "tcp", "::1"),
        ("connect", "ipv4", "tcp", "127.0.0.1"),
    ]
    assert [e.port for e in events] == [port, port, 53, 0, 0, events[5].port, port]


def test_ptrace(stage: Stage) -> None:
    stage.needs("lsm/ptrace_access_check")
    code = """
import ctypes
p = os.fork()
if not p: os.execv("/bin/sleep", ["sleep", "5"])
ctypes.CDLL(None).ptrace(16, p, None, None); os.kill(p, 9); os.wait()
"""
    [event] = only(stage.python(code), "ptrace")
    assert event.target_pid not in (0, event.process.pid)


def test_namespaces_and_mounts(stage: Stage, tmp_path: Path) -> None:
    stage.needs("fexit/unshare_nsproxy_namespaces", "fexit/netns_install", "lsm/sb_mount")
    code = """
import ctypes
libc = ctypes.CDLL(None)
net = os.open("/proc/self/ns/net", os.O_RDONLY)
assert not libc.unshare(0x40020000)
assert not libc.mount(b"none", b"/", None, 0x44000, None)
assert not libc.mount(b"source", a[0].encode(), b"tmpfs", 2, None)
assert not libc.setns(net, 0)
"""
    events = stage.python(code, tmp_path)
    assert [e.flags for e in only(events, "unshare")] == [0x40020000]
    assert [e.flags for e in only(events, "setns")] == [0x40000000]
    mount = only(events, "mount")[-1]
    assert (mount.path, mount.target, mount.type, mount.flags) == (str(tmp_path), "source", "tmpfs", 2)


def test_credentials_and_bpf_and_signals(stage: Stage) -> None:
    stage.needs("lsm/task_fix_setuid", "lsm/bpf", "lsm/task_kill")
    number = 321 if os.uname().machine == "x86_64" else 280
    code = f"""
import ctypes, signal
ctypes.CDLL(None).syscall({number}, 5, bytes(128), 128)
os.kill(os.getppid(), signal.SIGWINCH)
os.setuid(65534)
"""
    events = stage.python(code)
    assert [e.number for e in only(events, "bpf")] == [5]
    assert [e.number for e in only(events, "signal")] == [28]
    assert [(e.old_uid, e.new_uid) for e in only(events, "setuid")] == [(0, 65534)]


def test_groups_and_capabilities(stage: Stage) -> None:
    stage.needs("lsm/task_fix_setgid", "lsm/task_fix_setgroups", "lsm/capset")
    code = """
import ctypes
def capset(effective):
    data = (ctypes.c_uint32 * 6)(effective, 0xFFFFFFFF, 0, 0, 0x1FF, 0)
    assert not ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(0x20080522, 0), data)
capset(1 << 6)
capset(1 << 6 | 1 << 13)
os.setgroups([7, 8])
os.setgid(65534)
"""
    events = stage.python(code)
    assert [e.gained for e in only(events, "capset")] == [1 << 13], "what is given up is not told"
    assert [e.number for e in only(events, "setgroups")] == [2]
    assert [(e.old_gid, e.new_gid) for e in only(events, "setgid")] == [(0, 65534)]


AS_NOBODY = "os.setgroups([]); os.setresgid(*[65534] * 3); os.setresuid(*[65534] * 3); os.execv(a[0], a)"


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder in which nobody may start programs."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_root_by_a_setuid_file(stage: Stage, public: Path) -> None:
    stage.needs("lsm/bprm_committing_creds", "lsm/task_fix_setuid")
    shell = public / "shell"
    shutil.copy("/bin/dash", shell)
    shell.chmod(0o6755)
    events = stage.python(AS_NOBODY, shell, "-p", "-c", "/bin/true; exit 0")
    [started] = only(events, "exec", lambda event: event.process.exe == str(shell))
    assert (started.old_uid, started.new_uid, started.process.uid) == (65534, 0, 0)
    assert (started.old_gid, started.new_gid) == (65534, 0)
    assert started.gained >> 21 & 1, "CAP_SYS_ADMIN"
    others = only(events, "exec", lambda event: event is not started)
    assert {(event.old_uid, event.new_uid, event.gained) for event in others} == {(0, 0, 0)}
    assert not only(events, "setuid", lambda event: event.unexplained)


def test_capabilities_of_a_file(stage: Stage, public: Path) -> None:
    stage.needs("lsm/bprm_committing_creds")
    program = public / "true"
    shutil.copy("/bin/true", program)
    # Version 2, in effect: CAP_SETUID (linux/capability.h, struct vfs_cap_data).
    os.setxattr(program, "security.capability", struct.pack("<5I", 0x02000001, 1 << 7, 0, 0, 0))
    [started] = only(stage.python(AS_NOBODY, program), "exec", lambda event: event.process.exe == str(program))
    assert (started.old_uid, started.new_uid, started.gained) == (65534, 65534, 1 << 7)


def test_root_that_nothing_explains(stage: Stage) -> None:
    stage.needs("lsm/bprm_committing_creds", "lsm/task_fix_setuid")
    ways = """
os.setresuid(65534, 65534, 0); open("/dev/null"); os.setresuid(0, 0, 0)
if not os.fork(): os.execv("/bin/true", ["true"])
os.wait()
os.setresuid(65534, 65534, 0)
if not os.fork(): os.setresuid(0, 0, 0); os.execv("/bin/true", ["true"])
os.wait()
"""
    events: list[Event] = []
    assert not only(stage.python(ways), "setuid", lambda event: event.unexplained)
    stage.sensor._callback = events.append
    # As if a hole in the kernel had been used between them.
    for uid in (1000, 0, 0):
        stage.sensor._receive(record("bpf", numbers=(5,), uid=uid))
    assert [(e.kind, e.old_uid, e.new_uid, e.unexplained) for e in events] == [
        ("bpf", 0, 0, False),
        ("setuid", 1000, 0, True),
        ("bpf", 0, 0, False),
        ("bpf", 0, 0, False),
    ]


# Opens all maps, programs and links of the machine by their numbers; how many the kernel refused.
OPENING = """
import ctypes
from struct import pack
libc, number = ctypes.CDLL(None, use_errno=True), 321 if os.uname().machine == "x86_64" else 280
def bpf(command, *values):
    attributes = ctypes.create_string_buffer(pack(f"<{len(values)}I", *values), 128)
    return libc.syscall(number, command, attributes, 128), int.from_bytes(attributes[4:8], "little")
refused = 0
for following, opening in ((12, 14), (11, 13), (31, 30)):
    at = 0
    while True:
        result, at = bpf(following, at, 0)
        if result: break
        opened = bpf(opening, at, 0, int(a[0]) if opening == 14 else 0)[0]
        refused += opened < 0 and ctypes.get_errno() == 1
sys.exit(refused > 255 and 255 or refused)
"""


def test_who_opens_the_sensor_itself(stage: Stage) -> None:
    stage.needs("lsm/bpf")
    told = Counter(event.number for event in only(stage.python(OPENING, "0"), "bpf"))
    ours = Counter(struct.unpack("<II", key)[0] for key in stage.sensor._held["ours"])
    assert told == ours
    assert ours[14] >= 9
    assert ours[13] == len(stage.sensor.hooks)
    only_read = Counter(event.number for event in only(stage.python(OPENING, "8"), "bpf"))
    assert only_read == {13: ours[13], 30: ours[30]}, "to read a map does no harm"
    stage.sensor.set_denials([Denial("opening", "bpf")])
    stage.sensor.enforce(True)
    events = only(stage.python(OPENING, "0", check=False), "bpf")
    assert stage.returned == ours.total()
    assert {event.denied for event in events} == {"opening"}


def test_what_others_changed_is_as_it_was_again(stage: Stage, watched: Path) -> None:
    stage.sensor.set_watches([Watch("prefix", str(watched), ALL), Watch("name", "id_rsa", ALL)])
    assert stage.sensor.repair() == []
    (watched / "file").touch()
    tables = stage.sensor._tables
    for key in stage.sensor._held["places"]:
        tables["places"].remove(key)
    tables["names"].set(bytes(64), bytes(4))
    assert not only(stage.python("open(a[0])", watched / "file"), "open")
    stage.sensor._settings.set(bytes(4), bytes(56))
    assert stage.sensor.repair() == ["places", "names", "settings"]
    assert stage.sensor.repair() == []
    assert only(stage.python("open(a[0])", watched / "file"), "open")


def test_denial_of_files(stage: Stage, watched: Path) -> None:
    secret, allowed = watched / "secret", watched.parent / "allowed"
    secret.write_text("x")
    shutil.copy("/bin/cat", allowed)
    stage.sensor.set_denials(
        [
            Denial("reading", "open", (str(secret),), Interest.READ, (str(allowed),)),
            Denial("touching", "unlink", (str(watched),)),
            Denial("changing", "change", (str(watched),)),
        ]
    )
    code = """
f = a[0]
for act in (lambda: open(f), lambda: os.unlink(f), lambda: os.chmod(f, 0), lambda: os.rename(f, f + "x")):
    try: act()
    except PermissionError: continue
    sys.exit(1)
"""
    stage.python(code, secret, check=False)
    assert stage.returned == 1, "nothing is refused before it is switched on"
    stage.sensor.enforce(True)
    events = stage.python(code, secret)
    assert [(e.kind, e.denied) for e in events[1:]] == [
        ("open", "reading"),
        ("unlink", "touching"),
        ("setattr", "changing"),
        ("rename", "changing"),
    ]
    assert only(stage.run(allowed, secret, stdout=subprocess.DEVNULL), "open")[0].denied == ""
    stage.sensor.enforce(False)
    stage.run("/bin/cat", secret, stdout=subprocess.DEVNULL)


def test_denial_of_programs(stage: Stage, tmp_path: Path) -> None:
    stage.needs("lsm/bprm_check_security")
    program = tmp_path / "forbidden/true"
    program.parent.mkdir()
    shutil.copy("/bin/true", program)
    stage.sensor.set_denials([Denial("starting", "exec", (str(program.parent),))])
    stage.sensor.enforce(True)
    events = stage.run("/bin/sh", "-c", '"$0" one; test $? = 126', program, stderr=subprocess.DEVNULL)
    denied = only(events, "exec", lambda event: bool(event.denied))
    assert [(event.process.exe, event.denied) for event in denied] == [(str(program), "starting")]
    assert only(stage.run("/bin/true"), "exec")[0].process.exe == os.path.realpath("/bin/true")


@pytest.mark.skipif("LICHEN_GUARD_DENY" not in os.environ, reason="refuses it to all: LICHEN_GUARD_DENY=1 in a guest")
def test_denial_without_a_place(stage: Stage) -> None:
    stage.needs("lsm/bprm_check_security", "lsm/ptrace_access_check")
    stage.sensor.set_denials([Denial("memory", "exec-in-memory"), Denial("tracing", "ptrace")])
    stage.sensor.enforce(True)
    code = """
import ctypes
fd = os.memfd_create("hidden"); os.write(fd, open("/bin/true", "rb").read())
assert ctypes.CDLL(None).ptrace(16, 1, None, None) == -1
try: os.execve(fd, ["innocent"], {})
except PermissionError: sys.exit(0)
"""
    events = stage.python(code)
    assert [(e.kind, e.denied) for e in events if e.denied] == [("ptrace", "tracing"), ("exec", "memory")]


def test_a_full_ring_is_counted(object_file: Path) -> None:
    with Sensor(object_file, ring_bytes=4096) as sensor:
        for _ in range(40):
            subprocess.run(["/bin/true", "x" * 200], check=True)
        assert sensor.lost()["exec"] > 0
        assert sensor.lost()["mount"] == 0


def test_an_event_after_an_unread_fork_is_not_waited_for(stage: Stage) -> None:
    """A fork wakes nobody, and no reader that stands before it may sleep on when an event follows."""
    code = "import os\nprint(flush=True), input()\nos.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", code], **pipes) as process:  # type: ignore[call-overload]
        process.stdout.readline()
        while stage.sensor.poll(50, lambda _: None):
            continue
        events: list[Event] = []
        began = time.monotonic()
        process.communicate(b"\n")
        while not only(events, "exec", lambda event: event.process.parent_pid == process.pid):
            stage.sensor.poll(30_000, events.append)
        assert time.monotonic() - began < 15


def test_what_the_callback_raises_comes_out(stage: Stage) -> None:
    def refuse(_: Event) -> None:
        raise LookupError("no")

    subprocess.run(["/bin/true"], check=True)
    with pytest.raises(LookupError):
        stage.sensor.poll(1000, refuse)


def test_no_object(tmp_path: Path) -> None:
    (tmp_path / "empty.o").touch()
    for name in ("missing.o", "empty.o"):
        with pytest.raises(SensorError, match=name) as caught:
            Sensor(tmp_path / name, ring_bytes=4096)
        assert caught.value.remedy


def test_rules_that_do_not_fit(stage: Stage) -> None:
    with pytest.raises(SensorError, match="255 bytes"):
        stage.sensor.set_watches([Watch("prefix", "/" + "x" * 300, ALL)])
    with pytest.raises(SensorError, match="relative"):
        stage.sensor.set_denials([Denial("r", "open", ("etc",), ALL)])
