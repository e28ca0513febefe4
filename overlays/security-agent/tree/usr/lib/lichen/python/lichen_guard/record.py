"""The binary records of the BPF sensor; their layout is that of ``bpf/lichen-guard.h``."""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass
from typing import get_args

from .event import Event, Kind, Process

# In the order of the header's enum guard_kind. The last three tell more about others and become no events.
KINDS: tuple[str, ...] = (*get_args(Kind), "fork", "script", "rights")

# Commands of bpf() (enum bpf_cmd) that open what is there already.
BPF_PROG_GET_FD_BY_ID, BPF_MAP_GET_FD_BY_ID, BPF_LINK_GET_FD_BY_ID = 13, 14, 30

EXEC_IN_MEMORY, EXEC_SCRIPT = 1, 2
SETATTR_MODE, SETATTR_OWNER = 1, 2

HEAD = struct.Struct("<IHHQQQQQ9I5I16s")
_STRINGS = {
    "exec": 4,
    "open": 1,
    "create": 1,
    "unlink": 1,
    "rename": 2,
    "link": 2,
    "symlink": 2,
    "setattr": 1,
    "connect": 1,
    "listen": 1,
    "mount": 3,
    "module": 1,
    "script": 1,
}
_PATHS = frozenset({"open", "create", "unlink", "rename", "link", "symlink", "setattr", "mount", "module"})
_FAMILIES = {1: "unix", 2: "ipv4", 10: "ipv6"}
_ADDRESS_BYTES = {"ipv4": 4, "ipv6": 16}
# Multipath TCP (262) is TCP to whoever writes rules.
_TRANSPORTS = {6: "tcp", 17: "udp", 262: "tcp"}
_NOBODY = 0xFFFFFFFF


class RecordError(ValueError):
    """Bytes that are no record of this layout; the message says what is wrong with them."""


@dataclass(slots=True)
class Record:
    """A record, taken apart but not interpreted.

    Attributes:
        kind: one of :data:`KINDS`.
        time, started, parent_started: nanoseconds since boot.
        cgroup: identifier of the cgroup.
        denied: bit n is set when denial n refuses it.
        numbers, strings: what they are depends on the kind.
        lent: it acts with another's rights for the moment, as the kernel does for overlays.
    """

    kind: str
    time: int
    started: int
    parent_started: int
    cgroup: int
    denied: int
    pid: int
    thread: int
    parent: int
    session: int
    uid: int
    gid: int
    real_uid: int
    login_uid: int
    tty: int
    numbers: tuple[int, ...]
    name: str
    strings: list[bytes]
    lent: bool = False


def text(data: bytes) -> str:
    """As a str from which the bytes can be had back."""
    return data.decode("utf-8", "surrogateescape")


def parse(data: bytes) -> Record:
    """Takes a record apart.

    Raises:
        RecordError: it is shorter than it says, of an unknown kind, or has other strings than its kind.
    """
    if len(data) < HEAD.size:
        raise RecordError(f"record of {len(data)} bytes, its head alone has {HEAD.size}")
    fields = HEAD.unpack_from(data)
    size, number = fields[:2]
    if not HEAD.size <= size <= len(data):
        raise RecordError(f"record says it has {size} bytes, there are {len(data)}")
    if number >= len(KINDS):
        raise RecordError(f"record of the unknown kind {number}")
    kind = KINDS[number]
    strings = _strings(data, size)
    if len(strings) != _STRINGS.get(kind, 0):
        raise RecordError(f"record of the kind {kind} with {len(strings)} strings, not {_STRINGS.get(kind, 0)}")
    called = text(fields[22].split(b"\0", 1)[0])
    return Record(*(kind, *fields[3:17], fields[17:22], called, strings), lent=bool(fields[2]))


def _strings(data: bytes, size: int) -> list[bytes]:
    strings, at = [], HEAD.size
    while at < size:
        if at + 2 > size:
            raise RecordError(f"record ends within a length, at byte {size}")
        end = at + 2 + (data[at] | data[at + 1] << 8)
        if end > size:
            raise RecordError(f"string at byte {at} ends at {end}, beyond the record's {size}")
        strings.append(data[at + 2 : end])
        at = end
    return strings


def event(record: Record, process: Process, denied: str, rights: Record | None = None) -> Event:
    """The event that a record tells.

    Args:
        record: any but ``fork``, ``script`` and ``rights``.
        process: who did it.
        denied: name of the rule that refused it, or "".
        rights: of an exec, what its file brings.

    Raises:
        RecordError: an address has a wrong length.
    """
    made = Event(record.kind, record.time, process, record.thread, denied=denied)  # type: ignore[arg-type]
    first, second, third, *_ = record.numbers
    if record.kind in _PATHS:
        made.path = text(record.strings[0])
    match record.kind:
        case "exec" if rights:
            made.old_uid, made.new_uid, made.old_gid, *_ = rights.numbers
            made.new_gid, made.gained = record.gid, rights.numbers[3] | rights.numbers[4] << 32
        case "open":
            made.flags = first
        case "create":
            made.mode = first
        case "rename" | "link" | "symlink":
            made.target = text(record.strings[1])
        case "setattr":
            made.mode = second if first & SETATTR_MODE else None
            made.owner = third if first & SETATTR_OWNER and third != _NOBODY else None
        case "connect" | "listen":
            _endpoint(made, record)
        case "setuid" | "setgid" | "capset":
            _credentials(made, first, second)
        case "ptrace":
            made.target_pid = first
        case "mount":
            made.flags, made.target, made.type = first, text(record.strings[1]), text(record.strings[2])
        case "bpf" | "signal" | "setgroups":
            made.number = first
        case "setns" | "unshare":
            made.flags = first
    return made


def _credentials(made: Event, first: int, second: int) -> None:
    if made.kind == "setuid":
        made.old_uid, made.new_uid = first, second
    elif made.kind == "setgid":
        made.old_gid, made.new_gid = first, second
    else:
        made.gained = first | second << 32


def _endpoint(made: Event, record: Record) -> None:
    family, protocol, port, local_port, _ = record.numbers
    raw = record.strings[0]
    made.family = _FAMILIES.get(family, str(family))
    if made.family == "unix":
        # A name that starts with a zero byte is in no folder: written with @, as ss and /proc/net/unix do.
        made.address = "@" + text(raw[1:].rstrip(b"\0")) if raw[:1] == b"\0" else text(raw.split(b"\0", 1)[0])
        return
    if len(raw) != _ADDRESS_BYTES.get(made.family, len(raw)):
        raise RecordError(f"address of {made.family} with {len(raw)} bytes")
    made.transport = _TRANSPORTS.get(protocol, "")
    made.port = port
    made.local_port = local_port if record.kind == "connect" else port
    if made.family not in _ADDRESS_BYTES:
        made.address = raw.hex()
        return
    address = ipaddress.ip_address(raw)
    # An IPv4 address in IPv6's clothes; rules shall not have to know.
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address, made.family = address.ipv4_mapped, "ipv4"
    made.address = str(address)
