"""Kernel, isolation and network: of each rule, events that it must tell and events close by that it must not."""

from __future__ import annotations

from lichen_guard.event import Event

from .rule_actors import (
    BOX,
    CRON,
    DROPPED,
    KERNEL,
    NGINX,
    PERSON,
    PERSONS_BOX,
    PYTHON,
    ROOT,
    by,
    ran,
    touches,
    unix,
)
from .rule_scene import SYSTEMD, connects, happens, listens, process

ROWS: dict[str, tuple[list[Event], list[Event]]] = {
    "Namespace changed": (
        [happens("unshare", by("unshare", parent=PERSON), flags=0x10000000), happens("setns", PYTHON, flags=0x20000)],
        [happens("unshare", SYSTEMD, flags=0x20000), happens("setns", by("runc", exe="/usr/bin/runc"), flags=0x20000)],
    ),
    "Namespace entered with a tool": (
        [
            ran("nsenter", "-t", "1", "-m", parent=BOX),
            ran("nsenter", "--target=1", "-a", parent=ROOT),
            ran("unshare", "-r", "make", parent=PERSONS_BOX),
        ],
        [ran("unshare", "-r", "make", parent=PERSON)],
    ),
    "Mount by another program": (
        [
            happens("mount", PYTHON, path="/mnt", target="/dev/sda1"),
            happens("mount", by("mount", parent=BOX), path="/mnt", target="/dev/sda1"),
            happens("mount", by("mount", parent=PERSONS_BOX), path="/mnt", target="/dev/sda1"),
        ],
        [
            happens("mount", by("mount"), path="/mnt", target="/dev/sdb1"),
            happens("mount", SYSTEMD, path="/tmp", target="tmpfs"),
        ],
    ),
    "BPF program loaded": (
        [happens("bpf", DROPPED, number=5)],
        [
            happens("bpf", SYSTEMD, number=5),
            happens("bpf", DROPPED, number=0),
            happens("bpf", by("bpftool", exe="/usr/sbin/bpftool"), number=5),
        ],
    ),
    "Agent's BPF opened": (
        [happens("bpf", by("bpftool", exe="/usr/sbin/bpftool"), number=number) for number in (13, 14, 30)],
        [happens("bpf", DROPPED, number=number) for number in (0, 5, 28)],
    ),
    "Kernel setting that runs programs changed": (
        [
            touches("/proc/sys/kernel/core_pattern", by("bash", parent=BOX)),
            touches("/sys/fs/cgroup/rdma/release_agent", by("bash")),
        ],
        [
            touches("/proc/sys/kernel/core_pattern", process("systemd-sysctl", exe="/usr/lib/systemd/systemd-sysctl")),
            touches("/proc/sys/kernel/core_pattern", by("cat"), "r"),
        ],
    ),
    "Container runtime's socket used": (
        [unix(by("curl"), "/run/docker.sock")],
        [unix(by("docker"), "/run/docker.sock"), unix(by("curl"), "/run/dbus/system_bus_socket")],
    ),
    "Cloud metadata asked": (
        [connects(KERNEL, "169.254.169.254", 80), connects(by("curl"), "fd00:ec2::254", 80)],
        [
            connects(
                process("cloud-init", exe="/usr/bin/python3.13", script="/usr/bin/cloud-init"), "169.254.169.254", 80
            ),
            connects(by("curl"), "169.254.1.1", 80),
        ],
    ),
    "Connection from a service that needs none": (
        [connects(process("dbus-daemon", unit="dbus.service"), "203.0.113.9")],
        [
            connects(process("apt", unit="apt-daily.service"), "203.0.113.9"),
            connects(process("dbus-daemon", unit="dbus.service"), "127.0.0.1"),
            connects(
                by("curl", parent=process("sh", exe="/usr/bin/dash", parent=by("run-parts", parent=CRON))),
                "203.0.113.9",
            ),
        ],
    ),
    "Shell or dropped program listens": (
        [listens(by("nc", parent=PERSON), "0.0.0.0"), listens(DROPPED, "0.0.0.0")],
        [listens(process("sshd", exe="/usr/sbin/sshd"), "0.0.0.0", 22), listens(NGINX, "0.0.0.0", 443)],
    ),
    "Dropped program connects": (
        [connects(DROPPED, "203.0.113.9"), connects(process("x", exe="/memfd:x", in_memory=True), "203.0.113.9")],
        [connects(DROPPED, "127.0.0.1"), connects(PYTHON, "203.0.113.9")],
    ),
    "Packets captured": ([ran("tcpdump", "-i", "any", parent=ROOT)], [ran("cat", "tcpdump", parent=ROOT)]),
    "Network scanned": ([ran("nmap", "10.0.0.0/8")], [ran("ping", "10.0.0.1")]),
}
