"""Persistence, hiding and destroying: of each rule, events that it must tell and events close by that it must not."""

from __future__ import annotations

from lichen_guard.event import Event

from .rule_actors import BOX, CRON, DPKG, DROPPED, JOURNALD, PERSONS_BOX, PYTHON, ROOT, by, moved, ran, touches
from .rule_scene import SYSTEMD, happens, process

ROWS: dict[str, tuple[list[Event], list[Event]]] = {
    "System programs changed": (
        [
            touches("/usr/bin/ls", by("cp")),
            moved("/tmp/sshd", "/usr/sbin/sshd"),
            happens("unlink", by("rm"), path="/usr/bin/sudo"),
            touches("/usr/bin/ls", by("cp", parent=PERSONS_BOX)),
        ],
        [
            touches("/usr/bin/ls", by("cp", parent=BOX)),
            touches("/usr/bin/ls.dpkg-new", DPKG),
            touches("/usr/bin/ls", by("cat"), "r"),
            touches("/usr/share/x", by("cp")),
        ],
    ),
    "Write below etc": (
        [touches("/etc/hosts", by("vi")), touches("/etc/hosts", by("vi", parent=PERSONS_BOX))],
        [
            touches("/etc/hosts", by("vi", parent=BOX)),
            touches("/etc/hosts.dpkg-new", DPKG),
            touches("/etc/ld.so.cache~", by("/usr/sbin/ldconfig")),
            touches("/etc/machine-id", SYSTEMD),
            touches("/etc/hosts", by("vi"), "r"),
            touches("/etc/ssh/ssh_host_rsa_key", by("ssh-keygen")),
        ],
    ),
    "Scheduled job changed": (
        [touches("/etc/cron.d/x", by("tee")), touches("/var/spool/cron/crontabs/root", PYTHON)],
        [touches("/var/spool/cron/crontabs/tmp.1", by("crontab")), touches("/etc/cron.daily/apt.dpkg-new", DPKG)],
    ),
    "Service definition changed": (
        [touches("/etc/systemd/system/x.service", by("vi")), touches("/usr/lib/systemd/system/x.service", by("cp"))],
        [
            touches("/run/systemd/system/jupyter-ann-singleuser.service", SYSTEMD),
            happens(
                "symlink", by("systemctl"), path="/etc/systemd/system/multi-user.target.wants/x.service", target="x"
            ),
            touches("/etc/systemd/system/x.service", by("cat"), "r"),
        ],
    ),
    "Login script changed": (
        [touches("/etc/profile.d/x.sh", by("tee")), touches("/root/.bashrc", PYTHON)],
        [touches("/home/ann/.bashrc", by("vi")), touches("/etc/profile.d/x.sh.dpkg-new", DPKG)],
    ),
    "Loader preload changed": (
        [
            touches("/etc/ld.so.preload", by("tee")),
            moved("/tmp/x", "/etc/ld.so.preload"),
            happens("create", DROPPED, path="/etc/ld.so.preload"),
        ],
        [
            touches("/etc/ld.so.preload", by("ls"), "r"),
            touches("/etc/ld.so.conf", by("tee")),
            touches("/etc/ld.so.preload", DPKG),
        ],
    ),
    "Login checks changed": (
        [touches("/etc/pam.d/sshd", by("sed")), moved("/tmp/x", "/usr/lib/x86_64-linux-gnu/security/pam_unix.so")],
        [touches("/etc/pam.d/sshd", by("login"), "r"), moved("/etc/pam.d/a.dpkg-new", "/etc/pam.d/a", DPKG)],
    ),
    "Setuid bit set": (
        [happens("setattr", by("chmod"), path="/tmp/sh", mode=0o4755)],
        [
            happens("setattr", by("chmod"), path="/tmp/sh", mode=0o755),
            happens("setattr", DPKG, path="/usr/bin/su", mode=0o4755),
        ],
    ),
    "Kernel module loaded by hand": (
        [happens("module", PYTHON), happens("module", DROPPED, path="/tmp/x.ko")],
        [happens("module", by("/usr/bin/kmod"), path="/usr/lib/modules/6.12/x.ko")],
    ),
    "Kernel module from an unusual place": (
        [happens("module", by("insmod", exe="/usr/bin/kmod"), path="/root/x.ko")],
        [happens("module", by("modprobe", exe="/usr/bin/kmod"), path="/usr/lib/modules/6.12/kernel/x.ko.xz")],
    ),
    "Logs cleared": (
        [touches("/var/log/auth.log", by("bash"), "truncate"), happens("unlink", by("rm"), path="/var/log/wtmp")],
        [
            happens("unlink", JOURNALD, path="/var/log/journal/x/system@1.journal"),
            happens("unlink", by("gzip", parent=by("/usr/sbin/logrotate", parent=CRON)), path="/var/log/a.1"),
            touches("/var/log/auth.log", by("/usr/sbin/rsyslogd")),
            touches("/var/log/dpkg.log", by("cat"), "r"),
        ],
    ),
    "Journal shortened by hand": (
        [ran("journalctl", "--vacuum-time=1s", parent=ROOT)],
        [ran("journalctl", "-u", "ssh", parent=ROOT)],
    ),
    "Shell history removed": (
        [
            happens("unlink", by("rm"), path="/root/.bash_history"),
            happens("symlink", by("ln"), path="/root/.bash_history", target="/dev/null"),
            touches("/home/ann/.zsh_history", by("truncate"), "truncate"),
        ],
        [touches("/root/.bash_history", by("bash"), "truncate"), touches("/root/.bash_history", by("cat"), "r")],
    ),
    "Symlink over sensitive file": (
        [happens("symlink", by("ln"), path="/tmp/x", target="/etc/shadow")],
        [
            happens("symlink", by("ln"), path="/tmp/x", target="/usr/bin/ls"),
            happens("symlink", by("ln"), path="/a", target="/etc/x"),
        ],
    ),
    "Hard link to sensitive file": (
        [happens("link", by("ln"), path="/etc/shadow", target="/home/ann/x")],
        [
            happens("link", by("/usr/sbin/useradd"), path="/etc/shadow", target="/etc/shadow.lock"),
            happens("link", by("ln"), path="/a", target="/b"),
        ],
    ),
    "Data destroyed in bulk": (
        [
            ran("shred", "-u", "x", parent=ROOT),
            ran("rm", "-rf", "--no-preserve-root", "/", parent=ROOT),
            ran("dd", "if=/dev/zero", "of=/dev/sda", parent=ROOT),
            ran("mkfs.ext4", "/dev/sda1", parent=ROOT),
        ],
        [
            ran("rm", "-rf", "build"),
            ran("dd", "if=a", "of=b"),
            ran("mkfs.ext4", "/dev/vdb1", parent=process("systemd-repart", exe="/usr/lib/systemd/systemd-makefs")),
        ],
    ),
    "Disk written directly": (
        [touches("/dev/vda", by("dd"))],
        [
            touches("/dev/vda", by("dd"), "r"),
            touches("/dev/null", by("dd")),
            touches("/dev/vda1", by("/usr/sbin/e2fsck"), "rw"),
        ],
    ),
    "Security tool switched off": (
        [
            ran("systemctl", "stop", "lichen-guard.service", parent=ROOT),
            ran("pkill", "-9", "lichen-guard", parent=ROOT),
            ran("nft", "flush", "ruleset", parent=ROOT),
            ran("auditctl", "-e", "0", parent=ROOT),
        ],
        [
            ran("systemctl", "status", "lichen-guard", parent=ROOT),
            ran("systemctl", "stop", "nginx", parent=ROOT),
            ran("nft", "list", "ruleset", parent=ROOT),
        ],
    ),
    "Signal to the agent": (
        [happens("signal", by("kill"), number=9), happens("signal", DROPPED, number=19)],
        [happens("signal", SYSTEMD, number=15), happens("signal", by("bash"), number=18)],
    ),
    "Agent's files changed": (
        [
            touches("/usr/lib/lichen/python/lichen_guard/event.py", by("sed")),
            happens("create", ROOT, path="/etc/systemd/system/lichen-guard.service.d"),
            happens("unlink", ROOT, path="/usr/lib/lichen/bpf/lichen-guard.bpf.o"),
        ],
        [
            touches("/usr/share/lichen/guard/rules/ai.yaml", DPKG),
            touches("/usr/share/lichen/guard/rules/ai.yaml", by("cat"), "r"),
        ],
    ),
    "Agent's settings changed": (
        [touches("/etc/lichen/guard/rules/x.yaml", by("vi")), moved("/etc/lichen/.x", "/etc/lichen/guard.toml")],
        [touches("/etc/lichen/guard/rules/x.yaml", by("cat"), "r"), touches("/etc/lichen/guards", by("vi"))],
    ),
}
