"""How the sensor's events are called in Falco's language.

Falco sees system calls, the sensor what the kernel decided to do, so one event stands for every call that leads there:
``evt.type = openat`` holds for an event that may be one of open, openat, openat2, and ``evt.type != open`` does not.
A call that is in no row (``dup``, ``read``, ``clone``) is never told; a rule for nothing else is reported as one that
cannot match.

What else Falco's words mean here:

``evt.dir``
    ``<`` and ``>`` both hold: what was asked for and what came of it are one event.
``evt.is_open_read``, ``evt.is_open_write``
    By the access mode of an open; false for other events, as in Falco.
``evt.res``, ``evt.rawres``, ``evt.failed``, ``fd.num``
    SUCCESS, 0, false, 0 for what was let through; EPERM, -1, true, -1 for what the agent had refused. The sensor does
    not know whether the kernel refused it for another reason later on.
``fd.name``, ``fd.directory``, ``fd.filename``, ``fd.type``, ``fd.typechar``
    Of opens as in Falco. Also of what changes or removes files, where Falco has only ``fs.path.name`` and ``evt.arg``:
    the path that was made, changed, removed, or moved away.
``fd.name`` of connections
    ``->ADDRESS:PORT``: the local end is not known yet when the kernel is asked. Of a unix socket its path.
``file.path`` (ours)
    Every path that an event touches: as ``fd.name``; of renames and hard links the new path too.
``service.unit``, ``service.cgroup``, ``proc.script``, ``proc.is_exe_in_memory`` (ours)
    As in :class:`lichen_guard.event.Process`.
``proc.exe``, ``proc.cmdline``, ``proc.args``
    As in Falco: the first argument; the process's name with the other arguments; the other arguments.
``user.loginuid``
    -1 when nobody logged in, as in Falco.
``container.*``
    Only ``container.id`` is known; ``host`` when there is no container. Names and images are not to be had, so that
    rules that ask for them are off and listed.
``container.is_of_root`` (ours)
    Nobody but root can have made the container. Any user can make a cgroup below user@N.service that looks like a
    container and has a ``container.id``; rules that leave containers alone ask for this instead.
``evt.arg.olduid``, ``evt.arg.euid``, ``evt.arg.oldgid``, ``evt.arg.egid``, ``evt.arg.cap_gained`` (partly ours)
    Also of an exec, when the program's file has the bits or capabilities to change them; missing otherwise.
    ``cap_gained`` are capabilities that were not there before, of capset those put into effect.
``evt.arg.unexplained`` (ours)
    Of setuid: ``true`` when a process is root that was not, and nobody asked the kernel for that.
``bpf``
    Programs loaded, attached, linked. ``BPF_MAP_GET_FD_BY_ID``, ``BPF_PROG_GET_FD_BY_ID`` and
    ``BPF_LINK_GET_FD_BY_ID`` are told of the agent's own alone.
``evt.time``, ``evt.rawtime``
    Since boot (seconds, nanoseconds); the sensor does not tell the time of day.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from ..event import Kind

ALL: frozenset[Kind] = frozenset(get_args(Kind))

# The first name is the one that ``%evt.type`` shows.
CALLS: Mapping[Kind, tuple[str, ...]] = {
    "exec": ("execve", "execveat"),
    "open": ("openat", "open", "openat2", "open_by_handle_at"),
    "create": ("creat", "mkdir", "mkdirat", "mknod", "mknodat"),
    "unlink": ("unlinkat", "unlink", "rmdir"),
    "rename": ("rename", "renameat", "renameat2"),
    "link": ("linkat", "link"),
    "symlink": ("symlinkat", "symlink"),
    "setattr": ("fchmodat", "chmod", "fchmod", "fchmodat2", "fchownat", "chown", "lchown", "fchown"),
    "connect": ("connect",),
    "listen": ("listen",),
    "ptrace": ("ptrace",),
    "mount": ("mount", "fsmount", "move_mount"),
    "setuid": ("setuid", "setresuid", "setreuid"),
    "module": ("finit_module", "init_module"),
    "bpf": ("bpf",),
    "setns": ("setns",),
    "unshare": ("unshare",),  # clone and clone3 start processes, which is far more than new namespaces
    "signal": ("kill", "tkill", "tgkill"),
    "setgid": ("setgid", "setresgid", "setregid"),
    "setgroups": ("setgroups",),
    "capset": ("capset",),
}

# Events of files, whose path is the event's.
FILES: frozenset[Kind] = frozenset({"open", "create", "unlink", "rename", "link", "symlink", "setattr"})
CHANGES: frozenset[Kind] = frozenset({"create", "rename", "link", "symlink", "setattr"})
SOCKETS: frozenset[Kind] = frozenset({"connect", "listen"})
