"""The process table, cgroups, and what is laid into the kernel's maps."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pytest
from lichen_agent.cgroups import Cgroups, Place, container, container_of_root, mounted, unit
from lichen_guard import processes
from lichen_guard.places import PlaceError, exempt, layout
from lichen_guard.processes import ANCESTORS, ProcessTable
from lichen_guard.record import parse
from lichen_guard.watch import Denial, Interest, Watch

from tests.guard.records import record

READ, WRITE, CHANGE = Interest.READ, Interest.WRITE, Interest.CHANGE
BASH, LS = 4_000_001, 4_000_002


class NoCgroups(Cgroups):  # type: ignore[misc]
    """Knows one."""

    def find(self, identifier: int) -> Place:
        return Place("/x.service", "x.service") if identifier == 1 else Place()


@pytest.fixture
def table() -> ProcessTable:
    return ProcessTable(NoCgroups())


def executed(
    pid: int,
    exe: bytes,
    *,
    started: int = 1000,
    script: bytes = b"",
    in_memory: int = 0,
    denied: int = 0,
    arguments: bytes | None = None,
) -> bytes:
    flags = in_memory | (2 if script else 0)
    strings = (exe, script or exe, b"/home", exe + b"\0-l\0\0" if arguments is None else arguments)
    return record("exec", *strings, numbers=(flags,), pid=pid, started=started, denied=denied)


def test_exec(table: ProcessTable) -> None:
    process = table.executed(parse(executed(BASH, b"/bin/bash")))
    assert (process.pid, process.started, process.exe, process.cwd) == (BASH, 1000, "/bin/bash", "/home")
    assert process.arguments == ("/bin/bash", "-l", "")
    assert (process.unit, process.cgroup, process.tty, process.name) == (
        "x.service",
        "/x.service",
        136 << 20 | 3,
        "test",
    )
    assert table.of(parse(record("bpf", pid=BASH))) is process


def forked(maker: int = BASH, started: int = 1000, parent: int = BASH, parent_started: int = 1000) -> bytes:
    """LS, made by ``maker``."""
    numbers = (maker, started & 0xFFFFFFFF, started >> 32)
    return record("fork", pid=LS, started=2000, parent=parent, parent_started=parent_started, numbers=numbers)


def test_a_fork_inherits_what_its_parent_ran_then(table: ProcessTable) -> None:
    bash = table.executed(parse(executed(BASH, b"/bin/bash")))
    child = table.forked(parse(forked()))
    table.executed(parse(executed(BASH, b"/bin/zsh")))
    assert (child.exe, child.arguments, child.started) == ("/bin/bash", bash.arguments, 2000)
    assert child.parent is bash
    assert table.of(parse(record("bpf", pid=LS, started=2000, parent=1))).parent is bash, "it stays whose child it was"
    ls = table.executed(parse(executed(LS, b"/bin/ls", started=2000)))
    table.executed(parse(executed(LS, b"/bin/cat", started=2000)))
    assert ls.parent is bash, "of an event that was told before"
    assert child.exe == "/bin/bash"


def test_a_number_used_again_is_another_process(table: ProcessTable) -> None:
    table.executed(parse(executed(BASH, b"/bin/bash")))
    again = table.of(parse(record("bpf", pid=BASH, started=9000)))
    assert (again.exe, again.started) == ("", 9000)


def test_a_fork_runs_the_program_of_its_maker_whoever_is_its_parent(table: ProcessTable) -> None:
    """CLONE_PARENT: or a child of systemd's child would pass as systemd."""
    table.executed(parse(executed(BASH, b"/bin/bash")))
    table.executed(parse(executed(LS + 1, b"/usr/lib/systemd/systemd")))
    child = table.forked(parse(forked(parent=LS + 1)))
    assert (child.exe, child.parent_pid) == ("/bin/bash", LS + 1)


def test_an_unknown_process_that_is_gone_inherits_no_program(table: ProcessTable) -> None:
    table.executed(parse(executed(BASH, b"/bin/bash")))
    child = table.of(parse(record("bpf", pid=LS, started=2000, parent=BASH, parent_started=1000)))
    assert (child.exe, child.parent_pid) == ("", BASH)


def test_memory_is_bounded_whatever_arguments_are_like(table: ProcessTable) -> None:
    """Thousands of empty arguments, or of bytes that are no UTF-8, take far more than their length."""
    for number in range(40):
        for arguments in (b"\0" * 16384, b"\xff\0" * 8192):
            table.executed(parse(executed(BASH + number, b"/bin/x", arguments=arguments)))
    held = sum(len(item.arguments) for number in range(40) if (item := table.known(BASH + number)))
    assert 0 < held * 80 <= 64 << 20


def begotten(table: ProcessTable, pid: int, generation: int) -> None:
    """The next generation. Its parent runs something else then: the child alone holds what it was."""
    child = pid + generation + 1
    numbers = (pid + generation, 1000, 0)
    table.forked(parse(record("fork", pid=child, parent=pid + generation, parent_started=1000, numbers=numbers)))
    for one in (pid + generation, child):
        table.executed(parse(executed(one, b"/" + b"%d" % child * 500, arguments=(b"%d" % child * 140 + b"\0") * 16)))


def test_memory_is_bounded_however_many_ancestors_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chains of processes of which only the last is heard of: what they descend from leaves the table, but is held."""
    monkeypatch.setattr(processes, "TEXT_LIMIT", 2 << 20)
    table = ProcessTable(NoCgroups(), limit=60)
    tracemalloc.start()
    for chain in range(30):
        for generation in range(30):
            begotten(table, BASH + 1000 * chain, generation)
            for earlier in range(chain):
                table.of(parse(record("bpf", pid=BASH + 1000 * earlier + 30)))
        table.executed(parse(executed(BASH + 1000 * chain + 30, b"/bin/x")))
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken < 4 << 20
    last = table.known(BASH + 29_030)
    assert last is not None
    assert last.exe, "the newest are kept whole"
    assert last.parent is not None


def test_ancestors_are_bounded_in_number() -> None:
    table = ProcessTable(NoCgroups(), limit=10)
    for pid in range(BASH, BASH + 200):
        table.executed(parse(executed(pid, b"/bin/x")))
        numbers = (BASH, 1000, 0)
        table.forked(parse(record("fork", pid=pid + 1, parent=pid, parent_started=1000, numbers=numbers)))
    last = table.known(BASH + 200)
    assert last is not None
    assert 10 <= sum(1 for _ in last.ancestors()) <= 21


def test_what_an_ancestor_keeps_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    table = ProcessTable(NoCgroups())
    bash = table.executed(parse(executed(BASH, b"/bin/bash")))
    child = table.forked(parse(forked()))
    zsh = table.executed(parse(executed(BASH, b"/bin/zsh")))
    monkeypatch.setattr(processes, "TEXT_LIMIT", table._text)
    table.executed(parse(executed(LS + 1, b"/bin/x")))
    assert child.parent is bash
    assert (bash.name, bash.exe, bash.arguments) == ("test", "/bin/bash", ())
    assert table.known(BASH) is zsh
    assert zsh.arguments


def test_what_is_counted_is_what_is_held() -> None:
    table = ProcessTable(NoCgroups(), limit=50)
    for chain in range(20):
        for generation in range(20):
            begotten(table, BASH + 1000 * chain, generation)
    held = {id(one): one for process in table._table.values() for one in (process, *process.ancestors())}
    assert table._text == sum(one.weight for one in held.values())
    assert {key for key, one in held.items() if one.weight} == {*map(id, table._table.values()), *table._ancestors}


def test_an_unknown_process_is_read_from_proc(table: ProcessTable) -> None:
    with subprocess.Popen(["/bin/sleep", "60"], cwd="/usr") as sleep:
        while not Path(f"/proc/{sleep.pid}/cmdline").read_bytes():
            time.sleep(0.01)
        ticks = int(Path(f"/proc/{sleep.pid}/stat").read_text().rpartition(")")[2].split()[19])
        started = ticks * 10_000_000 + 1234567
        process = table.of(parse(record("bpf", pid=sleep.pid, started=started, parent=os.getpid())))
        other = ProcessTable(NoCgroups()).of(parse(record("bpf", pid=sleep.pid, started=started + 10_000_000)))
        sleep.kill()
    assert (process.exe, process.arguments) == (os.path.realpath("/bin/sleep"), ("/bin/sleep", "60"))
    assert (process.cwd, process.started) == ("/usr", started)
    assert other.exe == "", "it started later than the one with this number"


def test_a_program_that_was_upgraded_since_it_was_started_is_not_in_memory(table: ProcessTable, tmp_path: Path) -> None:
    shutil.copy("/bin/sleep", daemon := tmp_path / "daemon")
    code = "import os; m = os.memfd_create('x'); os.write(m, open('/bin/sleep', 'rb').read()); "
    code += "os.execv(f'/proc/self/fd/{m}', ['x', '60'])"
    with subprocess.Popen([daemon, "60"]) as upgraded, subprocess.Popen([sys.executable, "-c", code]) as hidden:
        while "/memfd:" not in os.readlink(f"/proc/{hidden.pid}/exe"):
            time.sleep(0.01)
        daemon.unlink()
        table.scan()
        upgraded.kill()
        hidden.kill()
    found = [table.known(process.pid) for process in (upgraded, hidden)]
    assert [(process.exe, process.in_memory) for process in found if process] == [
        (str(daemon), False),
        ("/memfd:x", True),
    ]


def test_scan(table: ProcessTable) -> None:
    table.scan()
    me = table.known(os.getpid())
    assert me is not None
    assert me.exe == os.readlink("/proc/self/exe")
    assert [me.parent_pid, me.uid, me.session] == [os.getppid(), os.geteuid(), os.getsid(0)]
    assert {ancestor.pid for ancestor in me.ancestors()} >= {os.getppid()}


def test_scripts(table: ProcessTable) -> None:
    table.script(parse(record("script", b"/srv/real", pid=BASH)))
    assert table.executed(parse(executed(BASH, b"/bin/sh", script=b"./link"))).script == "/srv/real"
    assert table.executed(parse(executed(BASH, b"/bin/sh", script=b"./other"))).script == "/home/other"
    table.script(parse(record("script", b"/srv/failed", pid=BASH)))
    assert table.executed(parse(executed(BASH, b"/bin/true"))).script == ""
    table.script(parse(record("script", b"/memfd:x", pid=BASH, numbers=(3,))))
    process = table.executed(parse(executed(BASH, b"/bin/sh", script=b"/dev/fd/3")))
    assert (process.script, process.in_memory) == ("/memfd:x", True)


def test_a_refused_program_is_not_kept(table: ProcessTable) -> None:
    bash = table.executed(parse(executed(BASH, b"/bin/bash")))
    refused = table.executed(parse(executed(BASH, b"/tmp/evil", denied=1)))
    assert refused.exe == "/tmp/evil"
    assert table.known(BASH) is bash


def test_the_table_is_bounded() -> None:
    table = ProcessTable(NoCgroups(), limit=100)
    for pid in range(BASH, BASH + 300):
        table.executed(parse(executed(pid, b"/bin/x")))
        table.of(parse(record("bpf", pid=BASH, started=1000)))
    assert len(table) == 100
    assert table.known(BASH) is not None, "it was heard of all the time"
    assert table.known(BASH + 1) is None


def test_lineage_is_bounded(table: ProcessTable) -> None:
    first = table.executed(parse(executed(BASH, b"/bin/x")))
    for pid in range(BASH, BASH + 200):
        last = table.forked(parse(record("fork", pid=pid + 1, started=1000, parent=pid, parent_started=1000)))
    assert sum(1 for _ in last.ancestors()) <= ANCESTORS
    assert first.pid not in {ancestor.pid for ancestor in last.ancestors()}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/system.slice/ssh.service", "ssh.service"),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/x.service", "user@1000.service"),
        ("/user.slice/user-1000.slice/session-3.scope", "session-3.scope"),
        ("/init.scope", "init.scope"),
        ("/system.slice/system-getty.slice/getty@tty1.service", "getty@tty1.service"),
        ("/system.slice/_cpu.service", "cpu.service"),
        ("/system.slice", ""),
        ("/machine/x", ""),
        ("/", ""),
        ("", ""),
    ],
)
def test_units(path: str, expected: str) -> None:
    assert unit(path) == expected


ID = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (f"/machine.slice/libpod-{ID}.scope/container", ID),
        (f"/system.slice/docker-{ID}.scope", ID),
        (f"/kubepods.slice/kubepods-burstable.slice/cri-containerd-{ID}.scope", ID),
        (f"/docker/{ID}/nested", ID),
        (f"/machine.slice/libpod-conmon-{ID}.scope", ""),
        (f"/docker/{ID}0", ""),
        ("/system.slice/docker.service", ""),
    ],
)
def test_containers(path: str, expected: str) -> None:
    assert container(path) == expected


USER = "/user.slice/user-1000.slice/user@1000.service"
SERVICE = "/system.slice/x.service"


@pytest.mark.parametrize(
    ("path", "trusted"),
    [
        (f"/machine.slice/libpod-{ID}.scope/container", True),
        (f"/docker/{ID}/nested", True),
        (f"/{ID}", True),
        (f"{USER}/app.slice/{ID}", False),
        (f"{USER}/user.slice/libpod-{ID}.scope/container", False),
        # Delegated to the user whom a service runs as.
        (f"{SERVICE}/{ID}", False),
        (f"{SERVICE}/roots/{ID}", False),
        (f"/gone/{ID}", False),
        ("/system.slice/docker.service", False),
        (USER, False),
        ("/", False),
        ("", False),
    ],
)
def test_whoever_may_make_cgroups_cannot_pass_for_a_container_of_root(path: str, trusted: bool) -> None:
    def owner(folder: str) -> int:
        if folder == "/gone":
            raise FileNotFoundError(folder)
        return 1000 if folder in {USER, f"{USER}/app.slice", f"{USER}/user.slice", SERVICE} else 0

    assert container_of_root(path, owner) is trusted


def test_cgroups_of_the_running_system() -> None:
    root = mounted()
    if root is None or os.geteuid() != 0:
        pytest.skip("needs root and a mounted unified hierarchy")
    cgroups = Cgroups(limit=2)
    folder = root / "guard-test.service"
    folder.mkdir()
    try:
        assert cgroups.find(folder.stat().st_ino) == Place("/guard-test.service", "guard-test.service")
        assert cgroups.find(root.stat().st_ino).cgroup == "/"
        (box := folder / ID).mkdir()
        assert cgroups.find(box.stat().st_ino).container_of_root
        box.rmdir()
        os.chown(folder, 1000, 1000)
        box.mkdir()
        place = cgroups.find(box.stat().st_ino)
        assert (place.container, place.container_of_root) == (ID, False)
        box.rmdir()
    finally:
        folder.rmdir()
    assert cgroups.find(1 << 60) == Place()
    cgroups.close()


def place(places: dict[bytes, bytes], path: str) -> tuple[int, ...]:
    prefix = path.encode()
    return struct.unpack("<5QII", places[struct.pack("<I", len(prefix) * 8) + prefix.ljust(256, b"\0")])[:6]


def test_places() -> None:
    watches = [
        Watch("prefix", "/nowhere", READ),
        Watch("prefix", "/nowhere/", WRITE),
        Watch("prefix", "/nowhere/quiet", Interest(0)),
        Watch("prefix", "/", CHANGE),
        Watch("name", ".ssh", READ),
    ]
    denials = [
        Denial("a", "open", ("/nowhere",), READ),
        Denial("b", "change", ("/nowhere/quiet/x", "/else")),
        Denial("c", "exec", ("/nowhere/quiet/x",)),
    ]
    laid = layout(watches, denials)
    places = dict(laid.places)
    assert place(places, "/nowhere/") == (0, 1, 0, 0, 0, READ | WRITE)
    assert place(places, "/nowhere/quiet/") == (0, 1, 0, 0, 0, 0)
    assert place(places, "/nowhere/quiet/x/") == (4, 1, 0, 2, 0, 0)
    assert place(places, "/else/") == (0, 0, 0, 2, 0, CHANGE)
    assert place(places, "/") == (0, 0, 0, 0, 0, CHANGE)
    assert laid.names == {b".ssh".ljust(64, b"\0"): struct.pack("<I", 1)}


def test_places_behind_links(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    places = dict(layout([Watch("prefix", str(tmp_path / "link"), READ)], []).places)
    assert place(places, f"{tmp_path}/real/")[5] == place(places, f"{tmp_path}/link/")[5] == READ


@pytest.mark.parametrize(
    ("watches", "denials", "why"),
    [
        ([Watch("prefix", "etc", READ)], [], "relative"),
        ([Watch("prefix", "/" + "x" * 255, READ)], [], "255 bytes"),
        ([Watch("name", "x" * 64, READ)], [], "1 to 63 bytes"),
        ([Watch("name", "a/b", READ)], [], "own name"),
        ([Watch("prefix", f"/{number}", READ) for number in range(5000)], [], "5000 paths"),
        ([], [Denial("r", "ptrace")] * 65, "65 denials"),
    ],
)
def test_what_does_not_fit(watches: list[Watch], denials: list[Denial], why: str) -> None:
    with pytest.raises(PlaceError, match=why):
        layout(watches, denials)


def test_programs_let_through(tmp_path: Path) -> None:
    (tmp_path / "program").touch()
    programs = (str(tmp_path / "program"), str(tmp_path / "missing"))
    masks = exempt(
        [
            Denial("a", "ptrace"),
            Denial("b", "ptrace", except_programs=programs),
            Denial("c", "module", except_programs=programs),
        ]
    )
    assert [struct.unpack("<Q", mask)[0] for mask in masks.values()] == [0b110]
