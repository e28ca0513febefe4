"""``evt.arg.NAME``: what the events of each kind say besides their path."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from ..event import Event, Kind
from .kinds import ALL

Value = str | int | None


@dataclass(frozen=True)
class Argument:
    """One of them, with the kinds of events that have it; ``user``: the number of one."""

    kinds: frozenset[Kind]
    read: Callable[[Event], Value]
    sort: Literal["text", "number"] = "text"
    user: bool = False


OPEN_FLAGS = {
    0o100: "O_CREAT", 0o200: "O_EXCL", 0o1000: "O_TRUNC", 0o2000: "O_APPEND", 0o4000: "O_NONBLOCK",
    0o40000: "O_DIRECT", 0o200000: "O_DIRECTORY", 0o400000: "O_NOFOLLOW", 0o2000000: "O_CLOEXEC",
    0o10000000: "O_PATH", 0o20200000: "O_TMPFILE",
}  # fmt: skip
NAMESPACES = {
    0x20000: "CLONE_NEWNS", 0x4000000: "CLONE_NEWUTS", 0x8000000: "CLONE_NEWIPC", 0x10000000: "CLONE_NEWUSER",
    0x20000000: "CLONE_NEWPID", 0x40000000: "CLONE_NEWNET", 0x2000000: "CLONE_NEWCGROUP", 0x80: "CLONE_NEWTIME",
}  # fmt: skip
MODES = {
    0o4000: "S_ISUID", 0o2000: "S_ISGID", 0o1000: "S_ISVTX", 0o400: "S_IRUSR", 0o200: "S_IWUSR", 0o100: "S_IXUSR",
    0o040: "S_IRGRP", 0o020: "S_IWGRP", 0o010: "S_IXGRP", 0o004: "S_IROTH", 0o002: "S_IWOTH", 0o001: "S_IXOTH",
}  # fmt: skip
BPF_COMMANDS = (
    *("BPF_MAP_CREATE", "BPF_MAP_LOOKUP_ELEM", "BPF_MAP_UPDATE_ELEM", "BPF_MAP_DELETE_ELEM", "BPF_MAP_GET_NEXT_KEY"),
    *("BPF_PROG_LOAD", "BPF_OBJ_PIN", "BPF_OBJ_GET", "BPF_PROG_ATTACH", "BPF_PROG_DETACH", "BPF_PROG_TEST_RUN"),
    *("BPF_PROG_GET_NEXT_ID", "BPF_MAP_GET_NEXT_ID", "BPF_PROG_GET_FD_BY_ID", "BPF_MAP_GET_FD_BY_ID"),
    *("BPF_OBJ_GET_INFO_BY_FD", "BPF_PROG_QUERY", "BPF_RAW_TRACEPOINT_OPEN", "BPF_BTF_LOAD", "BPF_BTF_GET_FD_BY_ID"),
    *("BPF_TASK_FD_QUERY", "BPF_MAP_LOOKUP_AND_DELETE_ELEM", "BPF_MAP_FREEZE", "BPF_BTF_GET_NEXT_ID"),
    *("BPF_MAP_LOOKUP_BATCH", "BPF_MAP_LOOKUP_AND_DELETE_BATCH", "BPF_MAP_UPDATE_BATCH", "BPF_MAP_DELETE_BATCH"),
    *("BPF_LINK_CREATE", "BPF_LINK_UPDATE", "BPF_LINK_GET_FD_BY_ID", "BPF_LINK_GET_NEXT_ID", "BPF_ENABLE_STATS"),
    *("BPF_ITER_CREATE", "BPF_LINK_DETACH", "BPF_PROG_BIND_MAP", "BPF_TOKEN_CREATE"),
)
# By their numbers, include/uapi/linux/capability.h.
CAPABILITIES = (
    *("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID"),
    *("CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST"),
    *("CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO"),
    *("CAP_SYS_CHROOT", "CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE"),
    *("CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE"),
    *("CAP_AUDIT_CONTROL", "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM"),
    *("CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE"),
)


def _flags(number: int, names: Mapping[int, str]) -> list[str]:
    return [name for bits, name in names.items() if number & bits == bits]


def _open_flags(event: Event) -> str:
    access = ("O_RDONLY", "O_WRONLY", "O_RDWR", "O_ACCMODE")[event.flags & 3]
    return "|".join((access, *_flags(event.flags, OPEN_FLAGS)))


def _namespaces(event: Event) -> str:
    return "|".join(_flags(event.flags, NAMESPACES)) or str(event.flags)


def _mode(event: Event) -> str | None:
    return None if event.mode is None else "|".join(_flags(event.mode, MODES)) or "0"


def _command(event: Event) -> str:
    return BPF_COMMANDS[event.number] if 0 <= event.number < len(BPF_COMMANDS) else str(event.number)


def _gained(event: Event) -> str | None:
    names = {1 << number: name for number, name in enumerate(CAPABILITIES)}
    return "|".join(_flags(event.gained, names)) or None


def _change(event: Event, before: int, after: int, wanted: int) -> int | None:
    """Of an exec only where its file changes it."""
    return None if event.kind == "exec" and before == after else wanted


def _user(event: Event, wanted: int) -> int | None:
    return _change(event, event.old_uid, event.new_uid, wanted)


def _group(event: Event, wanted: int) -> int | None:
    return _change(event, event.old_gid, event.new_gid, wanted)


def _signal(event: Event) -> str:
    try:
        return signal.Signals(event.number).name
    except ValueError:
        return str(event.number)


def _path(event: Event) -> str | None:
    return event.path or None


def _target(event: Event) -> str | None:
    return event.target or None


def _kinds(*kinds: Kind) -> frozenset[Kind]:
    return frozenset(kinds)


# What the sensor reports of users is effective.
ARGUMENTS: Mapping[str, Argument] = {
    "name": Argument(_kinds("open", "unlink", "create"), _path),
    "path": Argument(_kinds("create", "unlink", "setattr"), _path),
    "filename": Argument(_kinds("setattr"), _path),
    "oldpath": Argument(_kinds("rename", "link"), _path),
    "newpath": Argument(_kinds("rename", "link"), _target),
    "linkpath": Argument(_kinds("symlink"), _path),
    "target": Argument(_kinds("symlink"), _target),
    "flags": Argument(
        _kinds("open", "setns", "unshare"),
        lambda event: _open_flags(event) if event.kind == "open" else _namespaces(event),
    ),
    "nstype": Argument(_kinds("setns"), _namespaces),
    "mode": Argument(_kinds("setattr", "create"), _mode),
    "owner": Argument(_kinds("setattr"), lambda event: event.owner, "number", user=True),
    "uid": Argument(
        _kinds("setuid", "setattr"),
        lambda event: event.new_uid if event.kind == "setuid" else event.owner,
        "number",
        user=True,
    ),
    "euid": Argument(_kinds("setuid", "exec"), lambda event: _user(event, event.new_uid), "number", user=True),
    "olduid": Argument(_kinds("setuid", "exec"), lambda event: _user(event, event.old_uid), "number", user=True),
    "unexplained": Argument(_kinds("setuid"), lambda event: "true" if event.unexplained else "false"),
    "egid": Argument(_kinds("setgid", "exec"), lambda event: _group(event, event.new_gid), "number"),
    "oldgid": Argument(_kinds("setgid", "exec"), lambda event: _group(event, event.old_gid), "number"),
    "cap_gained": Argument(_kinds("capset", "exec"), _gained),
    "request": Argument(_kinds("ptrace"), lambda event: "PTRACE_ATTACH"),
    "pid": Argument(_kinds("ptrace"), lambda event: event.target_pid, "number"),
    "dev": Argument(_kinds("mount"), _target),
    "dir": Argument(_kinds("mount"), _path),
    "type": Argument(_kinds("mount"), lambda event: event.type or None),
    "cmd": Argument(_kinds("bpf"), _command),
    "sig": Argument(_kinds("signal"), _signal),
    "res": Argument(ALL, lambda event: "EPERM" if event.denied else "SUCCESS"),
}


def in_words(event: Event) -> str:
    """``name=value`` of everything that the event has."""
    pairs = ((name, argument.read(event)) for name, argument in ARGUMENTS.items() if event.kind in argument.kinds)
    return " ".join(f"{name}={value}" for name, value in pairs if value is not None)
