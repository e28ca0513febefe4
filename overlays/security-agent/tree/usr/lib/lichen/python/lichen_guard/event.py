"""What the sensor tells: an event, and the process that caused it.

Everything in an event comes from the kernel or from programs that may be hostile. Strings are decoded with
``surrogateescape``, so that no byte is lost and none is refused; whoever prints them escapes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

# One name for each thing that the sensor reports.
Kind = Literal[
    "exec",  # a program was started; process is the new program. What its file brings: .old_uid, .new_gid, .gained ...
    "open",  # a file of interest was opened: .path, .flags
    "create",  # a file, folder, device or link was made: .path; of links also .target
    "unlink",  # a file or folder was removed: .path
    "rename",  # .path became .target
    "link",  # hard link .target to the existing .path
    "symlink",  # .path is the new link, .target what it says
    "setattr",  # mode or owner of .path changed: .mode (new mode or None), .owner (new uid or None)
    "connect",  # .address, .port, .transport, .family
    "listen",  # .address, .port, .transport, .family
    "ptrace",  # attach to the process .target_pid
    "mount",  # .path is the mount point, .target the source, .type the file system
    "setuid",  # .old_uid -> .new_uid (effective)
    "module",  # a kernel module was loaded: .path, or "" when it came from memory
    "bpf",  # bpf() with command .number
    "setns",  # joined a namespace; .flags are CLONE_NEW*
    "unshare",  # made namespaces; .flags are CLONE_NEW*
    "signal",  # signal .number was sent to the agent itself
    "setgid",  # .old_gid -> .new_gid (effective)
    "setgroups",  # the other groups changed; .number is how many there are now
    "capset",  # a process put capabilities that it may use into effect: .gained
]


@dataclass(slots=True)
class Process:
    """A process as it was last seen, with the one that made it.

    Attributes:
        pid: of the thread group.
        started: nanoseconds since boot; pid and this together are an identity.
        name: the kernel's comm, at most 15 bytes.
        exe: path of the program file; for one without a name in any folder, what the kernel calls it (``/memfd:x``).
        arguments: argv, each cut at 4096 bytes, together at most 16 KiB.
        script: for a script, its file; "" otherwise (exe is the interpreter then).
        in_memory: the program file is in no folder: a memfd, or removed before it was started.
        uid, gid: effective. real_uid: real. login_uid: who logged in, 4294967295 when nobody did.
        tty: number of the controlling terminal (major << 20 | minor), 0 when there is none.
        cgroup: path in the unified hierarchy, ``/system.slice/ssh.service``; "" when unknown.
        unit: systemd's unit that the cgroup belongs to, ``ssh.service``, ``user@1000.service``; "" when unknown.
        container: identifier of the container, "" on the host itself. Users can make cgroups that look like one.
        container_of_root: nobody but root can have made the container: only such a one may excuse anything.
        session: sid, 0 when unknown.
        holders, weight: the process table's own: what keeps it (table and children), and the bytes it counts for.
    """

    pid: int
    started: int = 0
    name: str = ""
    exe: str = ""
    arguments: tuple[str, ...] = ()
    script: str = ""
    in_memory: bool = False
    cwd: str = ""
    uid: int = 0
    gid: int = 0
    real_uid: int = 0
    login_uid: int = 0xFFFFFFFF
    tty: int = 0
    session: int = 0
    cgroup: str = ""
    unit: str = ""
    container: str = ""
    container_of_root: bool = False
    parent: Process | None = field(default=None, repr=False)
    holders: int = field(default=0, init=False, repr=False, compare=False)
    weight: int = field(default=0, init=False, repr=False, compare=False)

    @property
    def parent_pid(self) -> int:
        """0 when it is unknown."""
        return self.parent.pid if self.parent else 0

    def ancestors(self) -> Iterator[Process]:
        """Parent, its parent and so on; at most 64."""
        process, left = self.parent, 64
        while process is not None and left:
            yield process
            process, left = process.parent, left - 1


@dataclass(slots=True)
class Event:
    """One thing that a process did, or tried.

    Attributes:
        time: nanoseconds since boot (CLOCK_BOOTTIME).
        thread: identifier of the thread.
        path, target, flags, number, ...: what :data:`Kind` says; empty or zero where it does not apply.
        flags: of an open, O_*; of setns and unshare, CLONE_NEW*.
        family: ``ipv4``, ``ipv6`` or ``unix``; transport: ``tcp``, ``udp`` or "".
        address: in the usual notation; of a unix socket its path.
        local_port: of a connect, 0 when the kernel has not chosen it yet.
        unexplained: of a setuid: nobody asked the kernel for it, but the process is root now.
        old_uid, new_uid, old_gid, new_gid: of an exec alike, and zero, when the file has no bits that change them.
        gained: capabilities that the process had not before, bit n for number n.
        denied: name of the rule by which the kernel was told to refuse it; "" when it was let through.
    """

    kind: Kind
    time: int
    process: Process
    thread: int = 0
    path: str = ""
    target: str = ""
    flags: int = 0
    number: int = 0
    mode: int | None = None
    owner: int | None = None
    type: str = ""
    family: str = ""
    transport: str = ""
    address: str = ""
    port: int = 0
    local_port: int = 0
    target_pid: int = 0
    old_uid: int = 0
    new_uid: int = 0
    old_gid: int = 0
    new_gid: int = 0
    gained: int = 0
    unexplained: bool = False
    denied: str = ""
