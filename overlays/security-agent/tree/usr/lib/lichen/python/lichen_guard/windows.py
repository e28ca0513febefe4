"""What each unit did within a while, as numbers: the windows that the model judges.

One :class:`Window` per unit at a time gathers events until its time is over or it is full. Then :class:`Windows` turns
it into the numbers of :data:`FEATURES` by comparing it with what the unit did before (:mod:`lichen_guard.profiles`).
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from .event import Event, Kind

SECOND = 1_000_000_000
# Different things remembered within one window, of each sort, and the longest name of one: what events with
# four-kilobyte paths can take from us has a bound.
MOST_DISTINCT = 256
MOST_NAME = 200
TEMPORARY = ("/tmp/", "/var/tmp/", "/dev/shm/", "/run/user/")  # noqa: S108 - where attackers unpack

# Which kinds of events are counted together.
GROUPS: Mapping[str, frozenset[Kind]] = {
    "execs": frozenset({"exec"}),
    "opens": frozenset({"open"}),
    "changes": frozenset({"create", "link", "symlink", "setattr"}),
    "removals": frozenset({"unlink", "rename"}),
    "connects": frozenset({"connect"}),
    "listens": frozenset({"listen"}),
    "kernel": frozenset({"ptrace", "mount", "module", "bpf", "setns", "unshare", "signal"}),
    "identities": frozenset({"setuid", "setgid", "setgroups", "capset"}),
}


@dataclass(slots=True)
class Window:
    """What one unit did between two moments. Only what :mod:`lichen_guard.features` needs is kept, not the events.

    Attributes:
        unit: family of units, see :func:`unit_family`.
        began, ended: nanoseconds since boot, of the first event and of the end.
        full: it ended because it held as many events as a window may.
        alerts: how many of its events rules told.
        kinds, programs, destinations, pairs, folders, uids: how often each; a pair is parent and child program.
        actions: how often each program did each kind of thing; the baseline ``frequency`` needs it.
    """

    unit: str
    began: int
    ended: int = 0
    full: bool = False
    events: int = 0
    alerts: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    programs: Counter[str] = field(default_factory=Counter)
    destinations: Counter[str] = field(default_factory=Counter)
    ports: Counter[int] = field(default_factory=Counter)
    pairs: Counter[str] = field(default_factory=Counter)
    folders: Counter[str] = field(default_factory=Counter)
    uids: Counter[int] = field(default_factory=Counter)
    actions: Counter[tuple[str, str]] = field(default_factory=Counter)
    seconds: Counter[int] = field(default_factory=Counter)
    in_memory: int = 0
    temporary: int = 0
    denied: int = 0
    became_root: int = 0
    on_terminal: int = 0
    names: int = 0
    entropy: float = 0.0
    argument_bytes: int = 0

    def add(self, event: Event, alerts: int = 0) -> None:
        """Take an event in. ``alerts`` says how many rules told it."""
        process = event.process
        self.events += 1
        self.alerts += alerts
        self.kinds[event.kind] += 1
        _count(self.uids, process.uid)
        _count(self.actions, (event.kind, process.exe[:MOST_NAME]))
        self.denied += bool(event.denied)
        self.on_terminal += bool(process.tty)
        if event.kind == "exec":
            self._add_exec(event)
        elif event.kind == "connect":
            _count(self.destinations, event.address)
            _count(self.ports, event.port)
        elif event.kind == "setuid":
            self.became_root += event.new_uid == 0 and event.old_uid != 0
        elif event.path:
            _count(self.folders, event.path.rpartition("/")[0])
            self._add_name(event.path)
        if event.kind in GROUPS["removals"] or event.kind == "create":
            self.seconds[(event.time - self.began) // SECOND] += 1

    def _add_exec(self, event: Event) -> None:
        process = event.process
        _count(self.programs, process.script or process.exe)
        parent = process.parent.exe if process.parent else ""
        _count(self.pairs, f"{parent}\0{process.exe}")
        self.in_memory += process.in_memory
        self.temporary += process.exe.startswith(TEMPORARY) or process.script.startswith(TEMPORARY)
        self.argument_bytes += sum(map(len, process.arguments))
        self._add_name(process.exe)

    def _add_name(self, path: str) -> None:
        self.names += 1
        self.entropy += name_entropy(PurePosixPath(path).name)


def _count(counter: Counter, thing: object) -> None:
    if isinstance(thing, str) and len(thing) > MOST_NAME:
        digest = hashlib.blake2b(thing.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
        thing = f"{thing[: MOST_NAME - len(digest)]}{digest}"
    if thing in counter or len(counter) < MOST_DISTINCT:
        counter[thing] += 1


def name_entropy(name: str) -> float:
    """Bits per character: ``aaaa`` has 0, a random name of 16 hexadecimal digits about 3.3."""
    if not name:
        return 0.0
    total = len(name)
    return -sum(count / total * math.log2(count / total) for count in Counter(name).values())


_INSTANCE = re.compile(r"@.*(?=\.[a-z]+$)")
_TRANSIENT = re.compile(r"[0-9a-f]{12,}|\d+")


def unit_family(event: Event) -> str:
    """The unit that an event is counted to, without what makes each start of it unique.

    ``user@1000.service`` and ``session-3.scope`` stand for thousands of others; as themselves they would be new for
    ever. A container that root made counts as one, whatever runs in it; those of a user are part of user@N.service, or
    anybody could pass for a container. What has no unit at all is named by its cgroup.
    """
    process = event.process
    name = "container" if process.container_of_root else process.unit or process.cgroup or "(none)"
    return _TRANSIENT.sub("*", _INSTANCE.sub("@*", name))[:256]


class Windows:
    """The open window of each unit; the least recently active of too many units is closed early.

    Args:
        length: of a window, nanoseconds.
        most_events: after which a window closes before its time.
        most_units: that may have one open.
    """

    def __init__(self, length: int, most_events: int = 5000, most_units: int = 256) -> None:
        self.length = length
        self.most_events = most_events
        self.most_units = most_units
        self._open: OrderedDict[str, Window] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    def add(self, event: Event, alerts: int = 0) -> list[Window]:
        """Take an event in; return the windows that this closed."""
        unit = unit_family(event)
        closed = []
        window = self._open.get(unit)
        if window and event.time >= window.began + self.length:
            closed.append(self._close(unit, window.began + self.length))
            window = None
        if not window:
            if len(self._open) >= self.most_units:
                closed.append(self._close(next(iter(self._open)), event.time))
            window = self._open[unit] = Window(unit, event.time)
        self._open.move_to_end(unit)
        window.add(event, alerts)
        if window.events >= self.most_events:
            window.full = True
            closed.append(self._close(unit, event.time))
        return closed

    def expire(self, now: int) -> list[Window]:
        """Close and return what is over. ``now`` is in nanoseconds since boot."""
        over = [window for window in self._open.values() if now >= window.began + self.length]
        return [self._close(window.unit, window.began + self.length) for window in over]

    def _close(self, unit: str, time: int) -> Window:
        window = self._open.pop(unit)
        window.ended = time
        return window
