"""The fields that rules may use, and how each is read from an event.

A field is there for some kinds of events only; for others it has no value. As in Falco, every comparison with a missing
value is false, ``!=`` and ``exists`` among them: ``not fd.port = 80`` holds for an exec, ``fd.port != 80`` does not
(falcosecurity/libs, ``sinsp_filter_check::compare_nocache``).
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

from ..event import Event, Kind, Process
from .arguments import ARGUMENTS, Argument, in_words
from .kinds import ALL, CALLS, FILES, SOCKETS
from .names import Names

Sort = Literal["text", "number", "truth", "address", "network"]
Plain = str | int | float | bool | None
# A field may have several values (fd.ip): the comparison holds when it does for one.
Found = Plain | list[str | int | float] | list[int]

NOBODY = 0xFFFFFFFF
O_ACCMODE, O_WRONLY, O_RDWR, O_DIRECTORY = 3, 1, 2, 0o200000


class Facts:
    """An event that rules look at. What costs is worked out once, when the first rule asks."""

    __slots__ = ("_kept", "event", "names", "number", "process")

    def __init__(self, event: Event, names: Names, number: int) -> None:
        self.event = event
        self.process = event.process
        self.names = names
        self.number = number
        self._kept: dict[str, Found] = {}

    def once(self, key: str, work: Callable[[Facts], Found]) -> Found:
        """What ``work`` returns, from the second time on without working."""
        try:
            return self._kept[key]
        except KeyError:
            self._kept[key] = found = work(self)
            return found


@dataclass(frozen=True)
class Field:
    """A field.

    Attributes:
        kinds: of events for which it has a value.
        cost: comparisons of cheap fields are made first.
        many: it may have several values: a comparison holds when it does for ``one``. Falco's ``!=`` then holds for
            ``one`` too (some ancestor is not called so), but of ports only for ``every`` one.
    """

    sort: Sort
    read: Callable[[Facts], Found]
    kinds: frozenset[Kind] = ALL
    cost: int = 1
    many: Literal["", "one", "every"] = ""


def command_line(process: Process) -> str:
    """As Falco shows it: the process's name, then its arguments without the first."""
    return " ".join((process.name, *process.arguments[1:]))


def _ancestor(process: Process, distance: int) -> Process | None:
    found: Process | None = process
    while found is not None and distance:
        found, distance = found.parent, distance - 1
    return found


def _shell(facts: Facts) -> int | None:
    """The oldest shell above, as Falco: its name ends in sh."""
    found = None
    for process in (facts.process, *facts.process.ancestors()):
        if process.name.endswith("sh"):
            found = process.pid
    return found


def _session_name(facts: Facts) -> str | None:
    own = facts.process
    return next((p.name for p in (own, *own.ancestors()) if p.pid == own.session and own.session), None)


# What can be asked of any process: of the event's own, its parent, and with a number of every ancestor.
OF_A_PROCESS: Mapping[str, tuple[Sort, Callable[[Process], Plain]]] = {
    "name": ("text", lambda process: process.name or None),
    "exe": ("text", lambda process: (process.arguments[0] if process.arguments else process.name) or None),
    "exepath": ("text", lambda process: process.exe or None),
    "cmdline": ("text", command_line),
    "id": ("number", lambda process: process.pid),
}


def _named(process: Callable[[Facts], Process | None], read: Callable[[Process], Plain]) -> Callable[[Facts], Found]:
    def field(facts: Facts) -> Found:
        one = process(facts)
        return None if one is None else read(one)

    return field


def _own(read: Callable[[Process], Found]) -> Callable[[Facts], Found]:
    return lambda facts: read(facts.process)


def _kept(key: str, read: Callable[[Process], Found]) -> Callable[[Facts], Found]:
    def work(facts: Facts) -> Found:
        return read(facts.process)

    return lambda facts: facts.once(key, work)


def _parent(facts: Facts) -> Process | None:
    return facts.process.parent


def _above(key: str, read: Callable[[Process], Plain], facts: Facts) -> Found:
    """Of all ancestors."""

    def work(facts: Facts) -> Found:
        values = (read(one) for one in facts.process.ancestors())
        return [value for value in values if value is not None]

    return facts.once(key, work)


# Falco ends the folder with a slash.
def _folder(process: Process) -> str | None:
    return process.cwd.rstrip("/") + "/" if process.cwd else None


def _login(process: Process) -> int:
    return -1 if process.login_uid == NOBODY else process.login_uid


PROCESS: dict[str, Field] = {
    "proc.name": Field("text", _own(lambda p: p.name or None)),
    "proc.exe": Field("text", _own(OF_A_PROCESS["exe"][1])),
    "proc.exepath": Field("text", _own(lambda p: p.exe or None)),
    "proc.script": Field("text", _own(lambda p: p.script or None)),
    "proc.is_exe_from_memfd": Field("truth", _own(lambda p: p.in_memory and p.exe.startswith("/memfd:"))),
    "proc.is_exe_in_memory": Field("truth", _own(lambda p: p.in_memory)),
    "proc.cmdline": Field("text", _kept("proc.cmdline", command_line), cost=3),
    "proc.args": Field("text", _kept("proc.args", lambda p: " ".join(p.arguments[1:])), cost=3),
    "proc.exeline": Field("text", _kept("proc.exeline", lambda p: " ".join(p.arguments)), cost=3),
    "proc.cmdnargs": Field("number", _own(lambda p: max(len(p.arguments) - 1, 0))),
    "proc.pid": Field("number", _own(lambda p: p.pid)),
    "proc.ppid": Field("number", _named(_parent, lambda p: p.pid)),
    "proc.tty": Field("number", _own(lambda p: p.tty)),
    "proc.sid": Field("number", _own(lambda p: p.session or None)),
    "proc.sname": Field("text", _session_name, cost=3),
    "proc.cwd": Field("text", _kept("proc.cwd", _folder), cost=2),
    "proc.duration": Field("number", lambda f: f.event.time - f.process.started if f.process.started else None),
    "proc.loginshellid": Field("number", lambda f: f.once("proc.loginshellid", _shell), cost=4),
    "proc.pname": Field("text", _named(_parent, OF_A_PROCESS["name"][1])),
    "proc.pexe": Field("text", _named(_parent, OF_A_PROCESS["exe"][1])),
    "proc.pexepath": Field("text", _named(_parent, OF_A_PROCESS["exepath"][1])),
    "proc.pcmdline": Field("text", _named(_parent, command_line), cost=3),
    "thread.tid": Field("number", lambda f: f.event.thread or None),
    "service.unit": Field("text", _own(lambda p: p.unit or None)),
    "service.cgroup": Field("text", _own(lambda p: p.cgroup or None)),
}

PEOPLE: dict[str, Field] = {
    "user.uid": Field("number", _own(lambda p: p.uid)),
    "user.name": Field("text", lambda f: f.names.user(f.process.uid), cost=5),
    "user.loginuid": Field("number", _own(_login)),
    "user.loginname": Field(
        "text", lambda f: None if f.process.login_uid == NOBODY else f.names.user(f.process.login_uid), cost=5
    ),
    "group.gid": Field("number", _own(lambda p: p.gid)),
    "group.name": Field("text", lambda f: f.names.group(f.process.gid), cost=5),
    # Of containers only the identifier can be told from outside; image and name are known to their runtime alone.
    "container.id": Field("text", _own(lambda p: p.container or "host")),
    "container.is_of_root": Field("truth", _own(lambda p: p.container_of_root)),
}


def _file_name(facts: Facts) -> str | None:
    return facts.event.path or None


def _split(facts: Facts, part: int) -> str | None:
    path = facts.event.path
    return (posixpath.split(path)[part] or None) if path else None


def _address(facts: Facts) -> str | None:
    """Without what IPv6 writes before an IPv4 address: it is the same machine."""
    event = facts.event
    if event.family == "unix":
        return None
    address = event.address
    return address[7:] if address.startswith("::ffff:") and "." in address else address or None


def _socket(facts: Facts) -> str | None:
    event, address = facts.event, _address(facts)
    if address is None:
        return event.address or None
    address = f"[{address}]" if ":" in address else address
    return f"->{address}:{event.port}" if event.kind == "connect" else f"{address}:{event.port}"


def _port(facts: Facts) -> int | None:
    return None if facts.event.family == "unix" else facts.event.port


def _local_port(facts: Facts) -> int | None:
    event = facts.event
    return event.port if event.kind == "listen" else event.local_port or None


def _ports(facts: Facts) -> list[int]:
    return [port for port in {_port(facts), _local_port(facts)} if port is not None]


def _paths(facts: Facts) -> list[str | int | float]:
    event = facts.event
    paths = (event.path, event.target if event.kind in TWO_PATHS else "")
    return [path for path in paths if path]


def _name(facts: Facts) -> str | None:
    return _socket(facts) if facts.event.kind in SOCKETS else facts.event.path or None


def _type(facts: Facts) -> str:
    event = facts.event
    if event.kind in SOCKETS:
        return event.family
    return "directory" if event.kind == "open" and event.flags & O_DIRECTORY else "file"


TWO_PATHS: frozenset[Kind] = frozenset({"rename", "link"})
CONNECT: frozenset[Kind] = frozenset({"connect"})
LISTEN: frozenset[Kind] = frozenset({"listen"})
LETTERS = {"file": "f", "directory": "d", "ipv4": "4", "ipv6": "6", "unix": "u"}

DESCRIPTORS: dict[str, Field] = {
    "fd.name": Field("text", _name, FILES | SOCKETS | {"module"}),
    "fd.directory": Field("text", partial(_split, part=0), FILES, cost=2),
    "fd.filename": Field("text", partial(_split, part=1), FILES, cost=2),
    "fd.type": Field("text", _type, FILES | SOCKETS),
    "fd.typechar": Field("text", lambda facts: LETTERS.get(_type(facts)), FILES | SOCKETS),
    "fd.num": Field("number", lambda facts: -1 if facts.event.denied else 0, FILES | SOCKETS | {"module"}),
    "fd.l4proto": Field("text", lambda facts: facts.event.transport or None, SOCKETS),
    "fd.sockfamily": Field("text", lambda facts: "unix" if facts.event.family == "unix" else "ip", SOCKETS),
    "fd.is_server": Field("truth", lambda facts: facts.event.kind == "listen", SOCKETS),
    "fd.ip": Field("address", _address, SOCKETS),
    "fd.sip": Field("address", _address, SOCKETS),
    "fd.rip": Field("address", _address, CONNECT),
    "fd.lip": Field("address", _address, LISTEN),
    "fd.net": Field("network", _address, SOCKETS, cost=4),
    "fd.snet": Field("network", _address, SOCKETS, cost=4),
    "fd.rnet": Field("network", _address, CONNECT, cost=4),
    "fd.lnet": Field("network", _address, LISTEN, cost=4),
    "fd.port": Field("number", _ports, SOCKETS, many="every"),
    "fd.sport": Field("number", _port, SOCKETS),
    "fd.rport": Field("number", _port, CONNECT),
    "fd.lport": Field("number", _local_port, SOCKETS),
    "fd.cport": Field("number", lambda facts: facts.event.local_port or None, CONNECT),
    "file.path": Field("text", _paths, FILES, many="one"),
    "fs.path.name": Field("text", _file_name, FILES | {"mount"}),
    "fs.path.source": Field("text", _file_name, TWO_PATHS),
    "fs.path.target": Field("text", lambda facts: facts.event.target or None, frozenset({"rename", "link", "symlink"})),
}

EVENT: dict[str, Field] = {
    "evt.type": Field("text", lambda facts: CALLS[facts.event.kind][0]),
    "evt.dir": Field("text", lambda facts: "<"),
    "evt.num": Field("number", lambda facts: facts.number),
    "evt.count": Field("number", lambda facts: 1),
    "evt.source": Field("text", lambda facts: "syscall"),
    "evt.rawtime": Field("number", lambda facts: facts.event.time),
    "evt.time": Field("text", lambda facts: f"{facts.event.time // 10**9}.{facts.event.time % 10**9:09}"),
    "evt.res": Field("text", lambda facts: "EPERM" if facts.event.denied else "SUCCESS"),
    "evt.rawres": Field("number", lambda facts: -1 if facts.event.denied else 0),
    "evt.failed": Field("truth", lambda facts: bool(facts.event.denied)),
    "evt.is_open_read": Field("truth", lambda f: f.event.kind == "open" and f.event.flags & O_ACCMODE in (0, O_RDWR)),
    "evt.is_open_write": Field(
        "truth", lambda f: f.event.kind == "open" and f.event.flags & O_ACCMODE in (O_WRONLY, O_RDWR)
    ),
    "evt.args": Field("text", lambda facts: facts.once("evt.args", lambda facts: in_words(facts.event)), cost=4),
    "evt.info": Field("text", lambda facts: facts.once("evt.args", lambda facts: in_words(facts.event)), cost=4),
}

FIELDS: Mapping[str, Field] = {**PROCESS, **PEOPLE, **DESCRIPTORS, **EVENT, "syscall.type": EVENT["evt.type"]}
ANCESTORS = {
    "proc.aname": "name",
    "proc.aexe": "exe",
    "proc.aexepath": "exepath",
    "proc.acmdline": "cmdline",
    "proc.apid": "id",
}


def find_field(name: str, argument: str | None = None) -> Field | None:
    """The field, with what stands in its brackets; None when the sensor cannot fill it."""
    if name in ANCESTORS:
        return _ancestor_field(name, argument)
    if name == "proc.args" and argument is not None and argument.isdecimal():
        at = int(argument[:4]) + 1
        return Field("text", _own(lambda p: p.arguments[at] if at < len(p.arguments) else None))
    if argument is not None:
        return None
    prefix, _, last = name.rpartition(".")
    if prefix in ("evt.arg", "evt.rawarg") and last in ARGUMENTS:
        return _argument_field(ARGUMENTS[last], raw=prefix == "evt.rawarg")
    return FIELDS.get(name)


def _argument_field(found: Argument, *, raw: bool) -> Field:
    """As in Falco, evt.arg is always a text, with names for users; evt.rawarg has their numbers."""
    if raw or found.sort == "text":
        return Field(found.sort, lambda facts: found.read(facts.event), found.kinds, 2)

    def work(facts: Facts) -> str | None:
        number = found.read(facts.event)
        name = facts.names.user(number) if found.user and isinstance(number, int) else None
        return name or (None if number is None else str(number))

    return Field("text", work, found.kinds, 5)


def _ancestor_field(name: str, argument: str | None) -> Field | None:
    sort, read = OF_A_PROCESS[ANCESTORS[name]]
    if argument is None:
        return Field(sort, partial(_above, name, read), cost=6, many="one")
    if not argument.isdecimal() or len(argument) > 2:
        return None
    distance = int(argument)
    return Field(sort, _named(lambda facts: _ancestor(facts.process, distance), read), cost=2)
