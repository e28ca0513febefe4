"""What a healthy machine does all day."""

from __future__ import annotations

from dataclasses import replace

from lichen_guard.event import Event

from .rule_actors import CRON, DPKG, HUB, KERNEL, LAB, SCRIPT, TERMINAL, UNIT, by, moved, ran, touches
from .rule_scene import SYSTEMD, connects, happens, listens, process

SSHD = process("sshd-session", exe="/usr/lib/openssh/sshd-session", unit="ssh.service", uid=0)
LOGROTATE = process("logrotate", exe="/usr/sbin/logrotate", unit="logrotate.service", uid=0)
ORDINARY: dict[str, list[Event]] = {
    "apt upgrades": [
        ran("/usr/bin/dpkg", "--unpack", "x.deb", parent=DPKG),
        ran("/bin/sh", "/var/lib/dpkg/info/x.postinst", exe="/usr/bin/dash", parent=DPKG),
        touches("/etc/ssh/sshd_config.dpkg-new", DPKG),
        moved("/usr/bin/ssh.dpkg-new", "/usr/bin/ssh", DPKG),
        happens("setattr", DPKG, path="/usr/bin/sudo", mode=0o4755),
        ran("useradd", "--system", "x", parent=SCRIPT),
        touches("/usr/lib/systemd/system/x.service", DPKG),
        happens("unlink", DPKG, path="/usr/bin/old"),
        ran("systemctl", "stop", "auditd", parent=SCRIPT),
        connects(process("http", exe="/usr/lib/apt/methods/http", parent=by("apt"), uid=42), "203.0.113.9", 80),
    ],
    "systemd boots": [
        touches("/etc/shadow", process("systemd-sysusers", exe="/usr/bin/systemd-sysusers"), "r"),
        moved("/etc/.#x", "/etc/machine-id", SYSTEMD),
        ran("/usr/lib/systemd/system-generators/systemd-fstab-generator"),
        touches("/run/systemd/system/x.service", SYSTEMD),
        happens("mount", SYSTEMD, path="/run", target="tmpfs", type="tmpfs"),
        happens("unshare", process("(sd-worker)", exe="/usr/lib/systemd/systemd-executor"), flags=0x20000),
        happens("bpf", SYSTEMD, number=5),
        happens(
            "module",
            process("systemd-modules", exe="/usr/lib/systemd/systemd-modules-load"),
            path="/usr/lib/modules/6/a.ko",
        ),
        touches("/proc/sys/kernel/core_pattern", process("systemd-sysctl", exe="/usr/lib/systemd/systemd-sysctl")),
        happens("unlink", process("systemd-tmpfile", exe="/usr/bin/systemd-tmpfiles"), path="/var/log/old.log"),
        happens("setuid", process("(d)", exe="/usr/lib/systemd/systemd-executor"), old_uid=0, new_uid=42),
        happens("signal", SYSTEMD, number=15),
    ],
    "jobs of cron and logrotate": [
        ran("/bin/sh", "-c", "run-parts /etc/cron.hourly", exe="/usr/bin/dash", parent=CRON),
        happens("setuid", CRON, old_uid=0, new_uid=1000),
        touches("/etc/shadow", CRON, "r"),
        happens("unlink", LOGROTATE, path="/var/log/dpkg.log.12.gz"),
        touches("/var/log/dpkg.log", LOGROTATE, "truncate"),
        ran("/bin/sh", "-c", "systemctl kill -s HUP rsyslog.service", exe="/usr/bin/dash", parent=LOGROTATE),
    ],
    "a login by ssh": [
        touches("/etc/shadow", SSHD, "r"),
        touches("/etc/ssh/ssh_host_ed25519_key", process("sshd", exe="/usr/sbin/sshd"), "r"),
        touches("/root/.ssh/authorized_keys", SSHD, "r"),
        happens("setuid", SSHD, old_uid=1000, new_uid=0),
        ran("-bash", name="bash", exe="/usr/bin/bash", parent=SSHD, tty=34816),
        ran("ls", "-la"),
        ran("vi", "notes.txt"),
        touches("/home/ann/.bash_history", by("bash")),
        connects(by("ssh"), "203.0.113.9", 22),
        ran("sudo", "-i"),
        happens("setuid", by("sudo"), old_uid=1000, new_uid=0),
        touches("/etc/shadow", by("sudo"), "r"),
        touches("/proc/1/environ", by("ps"), "r"),
    ],
    "a student's server": [
        ran("systemd-run", "--unit", UNIT, parent=HUB),
        ran("/bin/bash", "-c", "cd /home && exec jupyterhub-singleuser", exe="/usr/bin/bash", unit=UNIT),
        ran(*LAB.arguments, exe=LAB.exe, name=LAB.name, unit=UNIT, script="/opt/ai/bin/jupyterhub-singleuser"),
        listens(LAB, "127.0.0.1", 45555),
        connects(LAB, "127.0.0.1", 8081),
        ran(*KERNEL.arguments, exe=KERNEL.exe, parent=LAB),
        replace(ran("x"), process=TERMINAL),
        ran("ls", parent=TERMINAL),
        ran("handin", "one", "a.ipynb", exe="/usr/bin/python3.13", script="/usr/bin/handin", parent=TERMINAL),
        connects(KERNEL, "203.0.113.9", 443),
        touches("/opt/ai/lib/python3.13/site-packages/keras/__init__.py", KERNEL, "r"),
        ran("node", "/usr/bin/configurable-http-proxy", unit="classroom-proxy.service"),
        touches("/srv/classroom/hub/jupyterhub.sqlite", HUB, "rw"),
    ],
}
