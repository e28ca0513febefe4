"""Fields of events, and what alerts say of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from lichen_guard.event import Event, Kind, Process
from lichen_guard.rules import Names
from lichen_guard.rules.kinds import ALL, CALLS
from lichen_guard.rules.names import MOST_NAMES, Remembered

from .rule_actors import BOX
from .rule_scene import SYSTEMD, connects, happens, judge, listens, load, opens, process, rule, start

TOP = process("sshd", exe="/usr/sbin/sshd", pid=50, session=50)
SHELL = process("-bash", exe="/usr/bin/bash", name="bash", pid=60, parent=TOP, session=60, tty=34816)
TOOL = process(
    "/opt/tool", "one", "two words", pid=70, parent=SHELL, session=60, tty=34816, script="/opt/tool", cwd="/root",
    uid=1000, gid=0, login_uid=0, unit="ssh.service", cgroup="/system.slice/ssh.service",
)  # fmt: skip
BOXED = process("sh", container="abc123", login_uid=0xFFFFFFFF, uid=77, gid=77, in_memory=True, exe="/memfd:x")

TEXTS = [
    (happens("exec", TOOL), "%proc.name %proc.exe %proc.exepath", "tool /opt/tool /opt/tool"),
    (
        happens("exec", TOOL),
        "%proc.cmdline|%proc.args|%proc.exeline",
        "tool one two words|one two words|/opt/tool one two words",
    ),
    (happens("exec", TOOL), "%proc.pid %proc.ppid %proc.sid %proc.tty %proc.cmdnargs", "70 60 60 34816 2"),
    (happens("exec", TOOL), "%proc.pname %proc.pexe %proc.pexepath %proc.pcmdline", "bash -bash /usr/bin/bash bash"),
    (happens("exec", TOOL), "%proc.aname[1] %proc.aname[2] %proc.aname[4]", "bash sshd <NA>"),
    (happens("exec", TOOL), "%proc.aexepath[2] %proc.acmdline[2] %proc.apid[2]", "/usr/sbin/sshd sshd 50"),
    (happens("exec", TOOL), "%proc.aname", "bash,sshd,systemd"),
    (happens("exec", TOOL), "%proc.cwd %proc.sname %proc.loginshellid %proc.script", "/root/ bash 60 /opt/tool"),
    (happens("exec", TOOL), "%user.uid %user.name %user.loginuid %user.loginname", "1000 ann 0 root"),
    (happens("exec", TOOL), "%group.gid %group.name %service.unit", "0 root ssh.service"),
    (happens("exec", TOOL), "%service.cgroup %container.id %container.name", "/system.slice/ssh.service host <NA>"),
    (happens("exec", BOXED), "%container.id %container.name %container.image.repository", "abc123 <NA> <NA>"),
    (happens("exec", BOXED), "%container.is_of_root", "false"),
    (happens("exec", BOX), "%container.id %container.is_of_root", "c0ffee true"),
    (happens("exec", TOOL), "%container.is_of_root", "false"),
    (happens("exec", BOXED), "%user.name %user.loginuid %user.loginname %group.name", "<NA> -1 <NA> <NA>"),
    (happens("exec", BOXED), "%proc.is_exe_from_memfd %proc.is_exe_in_memory", "true true"),
    (happens("exec", TOOL, thread=9), "%evt.type %evt.dir %evt.num %thread.tid", "execve < 1 9"),
    (happens("exec", TOOL), "%evt.time %evt.rawtime %proc.duration", "10.000000000 10000000000 9999999995"),
    (happens("exec", TOOL), "%evt.res %evt.rawres %evt.failed", "SUCCESS 0 false"),
    (
        happens("exec", TOOL),
        "%fd.name %evt.arg.path %nothing.here %container.info 100% 5%% %proc",
        "<NA> <NA> <NA> <NA> 100% 5% %proc",
    ),
    (happens("exec", TOOL), "%*proc.name.", "tool."),
    (opens("/a/b.c", TOOL, "truncate"), "%fd.name %fd.directory %fd.filename", "/a/b.c /a b.c"),
    (opens("/a/b.c", TOOL, "truncate"), "%fd.type %fd.typechar %fd.num %evt.arg.flags", "file f 0 O_WRONLY|O_TRUNC"),
    (opens("/a/b.c", TOOL, "rw"), "%evt.is_open_read %evt.is_open_write %file.path", "true true /a/b.c"),
    (happens("open", TOOL, path="/a", flags=0o200000), "%fd.type %fd.typechar %evt.is_open_write", "directory d false"),
    (opens("/a", TOOL), "%evt.args", "name=/a flags=O_RDONLY res=SUCCESS"),
    (
        happens("rename", TOOL, path="/a", target="/b"),
        "%evt.arg.oldpath %evt.arg.newpath %file.path %fd.name",
        "/a /b /a,/b /a",
    ),
    (happens("rename", TOOL, path="/a", target="/b"), "%fs.path.source %fs.path.target %fs.path.name", "/a /b /a"),
    (happens("link", TOOL, path="/a", target="/b"), "%evt.type %evt.arg.newpath", "linkat /b"),
    (happens("symlink", TOOL, path="/a", target="../b"), "%evt.arg.linkpath %evt.arg.target %file.path", "/a ../b /a"),
    (happens("unlink", TOOL, path="/a/b"), "%fd.name %fd.filename %evt.arg.name", "/a/b b /a/b"),
    (
        happens("setattr", TOOL, path="/a", mode=0o4755),
        "%evt.arg.mode",
        "S_ISUID|S_IRUSR|S_IWUSR|S_IXUSR|S_IRGRP|S_IXGRP|S_IROTH|S_IXOTH",
    ),
    (happens("setattr", TOOL, path="/a", owner=0), "%evt.arg.mode %evt.arg.owner %evt.rawarg.owner", "<NA> root 0"),
    (
        connects(TOOL, "1.2.3.4", 80),
        "%fd.name %fd.sip %fd.rip %fd.lip %fd.cip",
        "->1.2.3.4:80 1.2.3.4 1.2.3.4 <NA> <NA>",
    ),
    (connects(TOOL, "::1", 80), "%fd.name %fd.type %fd.typechar %fd.sockfamily", "->[::1]:80 ipv6 6 ip"),
    (connects(TOOL, "1.2.3.4", 80), "%fd.sport %fd.rport %fd.lport %fd.cport %fd.l4proto", "80 80 <NA> <NA> tcp"),
    (
        happens("connect", TOOL, family="unix", address="/run/x"),
        "%fd.name %fd.type %fd.sip %fd.sport",
        "/run/x unix <NA> <NA>",
    ),
    (
        listens(TOOL, "0.0.0.0", 99),
        "%fd.name %fd.lip %fd.lport %fd.rport %fd.is_server",
        "0.0.0.0:99 0.0.0.0 99 <NA> true",
    ),
    (happens("ptrace", TOOL, target_pid=7), "%evt.arg.request %evt.arg.pid", "PTRACE_ATTACH 7"),
    (
        happens("mount", TOOL, path="/m", target="/dev/x", type="ext4"),
        "%evt.arg.dir %evt.arg.dev %evt.arg.type",
        "/m /dev/x ext4",
    ),
    (happens("setuid", TOOL, old_uid=1000, new_uid=0), "%evt.arg.uid %evt.rawarg.euid %evt.arg.olduid", "root 0 ann"),
    (happens("setuid", TOOL, unexplained=True), "%evt.arg.unexplained", "true"),
    (
        happens("exec", TOOL, old_uid=1000, new_uid=0, old_gid=7, new_gid=8, gained=1 << 7 | 1 << 13),
        "%evt.arg.olduid %evt.rawarg.euid %evt.arg.oldgid %evt.arg.egid %evt.arg.cap_gained",
        "ann 0 7 8 CAP_SETUID|CAP_NET_RAW",
    ),
    (happens("exec", TOOL), "%evt.arg.olduid %evt.arg.egid %evt.arg.cap_gained", "<NA> <NA> <NA>"),
    (happens("setgid", TOOL, old_gid=7, new_gid=8), "%evt.type %evt.arg.oldgid %evt.arg.egid", "setgid 7 8"),
    (happens("capset", TOOL, gained=1 << 40), "%evt.arg.cap_gained", "CAP_CHECKPOINT_RESTORE"),
    (happens("module", TOOL, path="/m.ko"), "%fd.name", "/m.ko"),
    (happens("module", TOOL), "%fd.name", "<NA>"),
    (happens("bpf", TOOL, number=5), "%evt.arg.cmd", "BPF_PROG_LOAD"),
    (happens("bpf", TOOL, number=30), "%evt.arg.cmd", "BPF_LINK_GET_FD_BY_ID"),
    (happens("bpf", TOOL, number=99), "%evt.arg.cmd", "99"),
    (happens("setns", TOOL, flags=0x20000), "%evt.arg.nstype %evt.arg.flags", "CLONE_NEWNS CLONE_NEWNS"),
    (happens("unshare", TOOL, flags=0x10020000), "%evt.arg.flags", "CLONE_NEWNS|CLONE_NEWUSER"),
    (happens("signal", TOOL, number=9), "%evt.arg.sig", "SIGKILL"),
]


@pytest.mark.parametrize(("event", "output", "text"), TEXTS, ids=[output for _, output, _ in TEXTS])
def test_fields(tmp_path: Path, event: Event, output: str, text: str) -> None:
    (alert,) = load(tmp_path, rule("evt.num >= 0").replace("output: o", f"output: '{output}'")).judge(event)
    assert alert.text == text


def test_an_event_is_told_with_its_fields(tmp_path: Path) -> None:
    output = "output: x %proc.pid %proc.name %fd.name %proc.is_exe_in_memory"
    (alert,) = load(tmp_path, rule("evt.num >= 0").replace("output: o", output)).judge(happens("exec", TOOL))
    assert alert.fields == {"proc.pid": 70, "proc.name": "tool", "fd.name": None, "proc.is_exe_in_memory": False}


@pytest.mark.parametrize("kind", sorted(ALL))
def test_every_name_of_an_event_is_meant(tmp_path: Path, kind: Kind) -> None:
    event = happens(kind, TOOL)
    for call in CALLS[kind]:
        assert judge(tmp_path, f"evt.type = {call}", event)
        assert judge(tmp_path, f"evt.type in (read, {call})", event)
        assert not judge(tmp_path, f"evt.type != {call}", event)
    others = ", ".join(name for other, names in CALLS.items() if other != kind for name in names)
    assert not judge(tmp_path, f"evt.type in ({others})", event)


def test_no_call_stands_for_two_kinds() -> None:
    names = [name for names in CALLS.values() for name in names]
    assert len(names) == len(set(names))
    assert set(CALLS) == ALL


@pytest.mark.parametrize(
    ("access", "reads", "writes"),
    [("r", True, False), ("w", False, True), ("rw", True, True), ("truncate", False, True)],
)
def test_access_modes(tmp_path: Path, access: str, reads: bool, writes: bool) -> None:
    event = opens("/a", TOOL, access)
    assert judge(tmp_path, "evt.is_open_read = true", event) is reads
    assert judge(tmp_path, "evt.is_open_write = true", event) is writes
    assert judge(tmp_path, "evt.is_open_write = false", event) is not writes
    # As in Falco, false for what is no open.
    assert judge(tmp_path, "evt.is_open_write = false", happens("exec", TOOL))


def test_what_was_refused(tmp_path: Path) -> None:
    event = opens("/a", TOOL)
    assert judge(tmp_path, "fd.num >= 0 and evt.rawres >= 0 and evt.res = SUCCESS and evt.failed = false", event)
    event.denied = "somebody"
    assert judge(tmp_path, "fd.num = -1 and evt.rawres < 0 and evt.res startswith E and evt.failed = true", event)


def test_a_process_of_which_little_is_known(tmp_path: Path) -> None:
    event = happens("exec", Process(9))
    output = "%proc.name %proc.exe %proc.args %proc.pname %proc.aname %proc.sid %proc.cwd %service.unit %proc.duration"
    (alert,) = load(tmp_path, rule("not proc.pname = x").replace("output: o", f"output: '{output}'")).judge(event)
    assert alert.text == "<NA> <NA>  <NA>  <NA> <NA> <NA> <NA>"


def test_a_ring_of_ancestors_ends(tmp_path: Path) -> None:
    first, second = Process(1, name="a"), Process(2, name="b")
    first.parent, second.parent = second, first
    event = happens("exec", first)
    assert judge(tmp_path, "proc.aname = b and not proc.aname = c and not proc.loginshellid exists", event)


class Accounts:
    """A file of accounts and how often it was asked; ``now`` is the time."""

    def __init__(self, path: Path) -> None:
        self.path, self.now, self.asked = path, 0.0, 0
        self.path.write_text("ann")
        self.names = Remembered(self.find, path, lambda: self.now)

    def find(self, number: int) -> str:
        self.asked += 1
        return dict(enumerate(self.path.read_text().split(), 1000))[number]


def test_new_accounts_get_their_names_and_used_numbers_new_ones(tmp_path: Path) -> None:
    accounts = Accounts(tmp_path / "passwd")
    assert [accounts.names(number) for number in (1000, 1001, 1000, 1001)] == ["ann", None, "ann", None]
    assert accounts.asked == 2
    (tmp_path / "new").write_text("eve bob")
    (tmp_path / "new").rename(accounts.path)
    accounts.now = 0.9
    assert accounts.names(1000) == "ann", "looking at the file for each event would cost too much"
    accounts.now = 1.0
    assert [accounts.names(number) for number in (1000, 1001)] == ["eve", "bob"]
    accounts.path.unlink()
    accounts.now = 2.0
    with pytest.raises(FileNotFoundError):
        accounts.names(1000)


def test_names_from_elsewhere_are_asked_for_again(tmp_path: Path) -> None:
    """No file changes when systemd gives a number to another of its dynamic users."""
    accounts = Accounts(tmp_path / "passwd")
    for accounts.now in (0.0, 10.0, 59.0, 60.0, 61.0):
        accounts.names(1000)
    assert accounts.asked == 2


def test_names_are_bounded(tmp_path: Path) -> None:
    accounts = Accounts(tmp_path / "passwd")
    for number in range(2 * MOST_NAMES):
        accounts.names(5000 + number)
    assert len(accounts.names._names) == MOST_NAMES


def test_names_of_this_machine() -> None:
    names = Names()
    assert (names.user(0), names.group(0), names.user(1 << 40)) == ("root", "root", None)


HOSTILE = "\x1b[2J\x07\r\nx\u202e\u2066\x9b\udcff\udc80\u200b\ud800é"


def test_hostile_text_is_harmless(tmp_path: Path) -> None:
    event = start("sh", HOSTILE)
    (alert,) = load(tmp_path, rule("evt.num >= 0").replace("output: o", "output: '%proc.args'")).judge(event)
    assert alert.text == alert.fields["proc.args"]
    assert alert.text == r"\x1b[2J\x07\x0d\x0ax\u202e\u2066\x9b\xff\x80\u200b\ud800é"


def test_long_text_is_cut(tmp_path: Path) -> None:
    event = start("sh", "a" * 5000, exe="/" + "b" * 4000)
    output = "output: '" + "%proc.args %proc.exepath " * 4 + "'"
    (alert,) = load(tmp_path, rule("evt.num >= 0").replace("output: o", output)).judge(event)
    assert len(alert.text) == 4096
    assert all(len(str(value)) == 1024 for value in alert.fields.values())


def test_conditions_see_the_whole_of_hostile_text(tmp_path: Path) -> None:
    event = start("sh", "\udcff" * 4000 + "needle\n", parent=SYSTEMD)
    assert judge(tmp_path, "proc.args contains needle and proc.args glob *needle*", event)
