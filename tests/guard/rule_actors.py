"""Who does what in the tests of our own rules."""

from __future__ import annotations

from typing import Any

from lichen_guard.event import Event, Process

from .rule_scene import happens, opens, process, start

ROOT = process("bash", unit="session-1.scope", uid=0, tty=34817, login_uid=0)
PERSON = process("bash", unit="session-2.scope", uid=1000, tty=34818, login_uid=1000)
DPKG = process("/usr/bin/dpkg", "--configure", "-a", uid=0, parent=process("/usr/bin/apt", "upgrade", uid=0))
SCRIPT = process("postinst", exe="/usr/bin/dash", script="/var/lib/dpkg/info/x.postinst", parent=DPKG, uid=0)
NGINX = process("nginx", exe="/usr/sbin/nginx", unit="nginx.service", uid=33)
CRON = process("cron", exe="/usr/sbin/cron", unit="cron.service", uid=0)
JOURNALD = process("systemd-journald", exe="/usr/lib/systemd/systemd-journald", unit="systemd-journald.service", uid=0)
BOX = process("sleep", container="c0ffee", container_of_root=True, exe="/usr/bin/sleep", uid=0)
# In a cgroup that a person made: of a container without root's rights, or of one who poses as such.
PERSONS_BOX = process("sleep", container="f" * 64, exe="/usr/bin/sleep", unit="user@1000.service", uid=1000)
UNIT = "jupyter-ann-singleuser.service"
LAB = process(
    "/opt/ai/bin/python3",
    "/opt/ai/bin/jupyterhub-singleuser",
    exe="/usr/bin/python3.13",
    name="jupyterhub-sing",
    unit=UNIT,
)
TERMINAL = process("/bin/bash", "-l", exe="/usr/bin/bash", parent=LAB, tty=34820)
KERNEL = process(
    "/opt/ai/bin/python", "-m", "ipykernel_launcher", "-f", "k.json", exe="/usr/bin/python3.13", parent=LAB
)
HUB = process(
    "/opt/ai/bin/python3",
    "/opt/ai/bin/jupyterhub",
    exe="/usr/bin/python3.13",
    name="jupyterhub",
    unit="jupyterhub.service",
    uid=0,
)
MODEL = process("/opt/ai/bin/python", "-m", "vllm", exe="/usr/bin/python3.13", unit="vllm.service", uid=990)
DROPPED = process("/tmp/.x", parent=PERSON)
PYTHON = process("python3", "x.py", exe="/usr/bin/python3.13", parent=PERSON)


def by(who: str, *, parent: Process = ROOT, **more: Any) -> Process:
    """A program that somebody runs."""
    return process(who, parent=parent, **{"uid": parent.uid, **more})


def ran(*command: str, parent: Process = PERSON, **more: Any) -> Event:
    """An exec."""
    return start(*command, parent=parent, **{"uid": parent.uid, **more})


def touches(path: str, who: Process, access: str = "w") -> Event:
    """An open, to write unless told."""
    return opens(path, who, access)


def moved(path: str, target: str, who: Process = ROOT) -> Event:
    """A rename."""
    return happens("rename", who, path=path, target=target)


def unix(who: Process, address: str) -> Event:
    """A connection to a unix socket."""
    return happens("connect", who, family="unix", address=address)
