"""The process table: who is behind a record, what program it runs, and who started it."""

from __future__ import annotations

import os
import sys
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

from lichen_agent.cgroups import Cgroups

from .event import Process
from .record import EXEC_IN_MEMORY, EXEC_SCRIPT, Record, text

ARGUMENT_LIMIT = 4096
MOST_ARGUMENTS = 16384  # bytes of all together, as the sensor tells them
# Bytes of all texts together; a program can have 16 KiB of arguments, and be started 65536 times.
TEXT_LIMIT = 64 << 20
# Bytes of a path that an ancestor keeps when all else of it is given up.
SHORT = 256
ANCESTORS = 64
# The kernel tells /proc's readers starting times in hundredths of a second.
_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


class ProcessTable:
    """Processes by number and starting time; those of which nothing was heard the longest are forgotten.

    Children hold what their parent was when it made them: also when it is forgotten since, or runs another program.
    Such ancestors count too. When there are too many, or their texts are too long, the first of them keep their name
    and a short path, and have no ancestors any more.

    Args:
        cgroups: resolves identifiers of cgroups.
        limit: how many processes are kept, and as many ancestors that are no longer among them.
        proc: where procfs is.
    """

    def __init__(self, cgroups: Cgroups, *, limit: int = 65536, proc: Path = Path("/proc")) -> None:
        self._cgroups, self._limit, self._proc = cgroups, limit, proc
        self._table: OrderedDict[int, Process] = OrderedDict()
        self._ancestors: OrderedDict[int, Process] = OrderedDict()  # by id()
        self._text = 0
        # Scripts whose interpreter is about to be started: process -> path, in memory.
        self._scripts: OrderedDict[int, tuple[str, bool]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._table)

    def scan(self) -> None:
        """Learns the processes that run already."""
        for name in os.listdir(self._proc):
            if name.isdecimal() and int(name) not in self._table:
                self._find(int(name), None)

    def known(self, pid: int) -> Process | None:
        """What is known under this number; None when nothing is."""
        return self._table.get(pid)

    def of(self, record: Record) -> Process:
        """The process that a record is about, brought up to date."""
        process = self._table.get(record.pid)
        if process is None or not _same(process, record.started):
            process = self._unknown(record)
        else:
            self._table.move_to_end(record.pid)
        self._refresh(process, record)
        return process

    def forked(self, record: Record) -> Process:
        """A new process; it runs the program of who made it, which need not be its parent (CLONE_PARENT)."""
        parent = self._find(record.parent, record.parent_started) if record.parent else None
        maker, low, high = record.numbers[:3]
        made_by = self._find(maker, low | high << 32) if maker else None
        process = replace(made_by, pid=record.pid, started=record.started) if made_by else _new(record)
        self._keep(process, parent)
        self._refresh(process, record)
        return process

    def script(self, record: Record) -> None:
        """A script passed the kernel's checks; the record of its interpreter's start follows, unless that fails."""
        self._scripts[record.pid] = text(record.strings[0]), bool(record.numbers[0] & EXEC_IN_MEMORY)
        if len(self._scripts) > 1024:
            self._scripts.popitem(last=False)

    def executed(self, record: Record) -> Process:
        """The process with the program that it was just given, or was refused (then the table keeps the old one)."""
        before = self.of(record)
        exe, called, cwd, arguments = record.strings
        in_memory = bool(record.numbers[0] & EXEC_IN_MEMORY)
        script = ""
        if record.numbers[0] & EXEC_SCRIPT and not record.denied:
            beside = os.path.normpath(os.path.join(text(cwd), text(called)))
            script, scripted_in_memory = self._scripts.get(record.pid, (beside, False))
            in_memory = in_memory or scripted_in_memory
        self._scripts.pop(record.pid, None)
        process = replace(
            before,
            exe=text(exe),
            arguments=_arguments(arguments),
            script=script,
            in_memory=in_memory,
            cwd=text(cwd),
        )
        if not record.denied:
            self._keep(process, before.parent)
        return process

    def _refresh(self, process: Process, record: Record) -> None:
        process.started = record.started
        process.name = record.name
        process.uid, process.gid, process.real_uid = record.uid, record.gid, record.real_uid
        process.login_uid, process.tty, process.session = record.login_uid, record.tty, record.session
        place = self._cgroups.find(record.cgroup)
        moved = process.cgroup != place.cgroup
        process.cgroup, process.unit = place.cgroup, place.unit
        process.container, process.container_of_root = place.container, place.container_of_root
        if moved:
            self._weigh(process)
            self._shrink()

    def _unknown(self, record: Record) -> Process:
        parent = self._find(record.parent, record.parent_started) if record.parent else None
        # Its program file is hidden from an agent without CAP_SYS_PTRACE. It stays unknown, which no rule excepts.
        process = self._read(record.pid, record.started) or _new(record)
        self._keep(process, parent)
        return process

    def _find(self, pid: int, started: int | None, below: int = 0) -> Process:
        """From the table or /proc, with its ancestors; what is in neither is made up from its number."""
        process = self._table.get(pid)
        if process is not None and (started is None or _same(process, started)):
            return process
        process = self._read(pid, started) or Process(pid, started or 0)
        above = self._parent_of(pid) if process.name and below < ANCESTORS else 0
        self._keep(process, self._find(above, None, below + 1) if above else None)
        return process

    def _keep(self, process: Process, parent: Process | None) -> None:
        process.parent = parent
        if parent:
            self._hold(parent)
        for above, ancestor in enumerate(process.ancestors(), 1):
            if above == ANCESTORS:
                # Whoever forks and exits for ever would be kept for ever.
                self._orphan(ancestor)
        old = self._table.pop(process.pid, None)
        self._table[process.pid] = process
        process.holders += 1
        self._weigh(process)
        if old:
            self._leaves(old)
        self._shrink()

    def _shrink(self) -> None:
        while len(self._table) > self._limit:
            self._leaves(self._table.popitem(last=False)[1])
        while len(self._ancestors) > self._limit:
            self._strip()
        while self._text > TEXT_LIMIT and (self._ancestors or len(self._table) > 1):
            if self._ancestors:
                self._strip()
            else:
                self._leaves(self._table.popitem(last=False)[1])

    def _leaves(self, process: Process) -> None:
        """It is no longer in the table; its children may hold it."""
        self._ancestors[id(process)] = process
        self._let_go(process)

    def _hold(self, process: Process) -> None:
        """One child more."""
        if not process.holders:  # it was forgotten since it was found
            self._ancestors[id(process)] = process
            self._weigh(process)
            if process.parent:
                self._hold(process.parent)
        process.holders += 1

    def _let_go(self, process: Process | None) -> None:
        """One holder less; what has none counts no longer, and does not hold its own parent."""
        while process:
            process.holders -= 1
            if process.holders:
                return
            self._ancestors.pop(id(process), None)
            self._text -= process.weight
            process.weight = 0
            process = process.parent

    def _orphan(self, process: Process) -> None:
        above, process.parent = process.parent, None
        self._let_go(above)

    def _strip(self) -> None:
        """The oldest ancestor counts no longer. It holds none itself, so there are no more such than others."""
        _, process = self._ancestors.popitem(last=False)
        self._text -= process.weight
        process.weight = 0
        process.arguments = ()
        process.cwd = process.script = process.cgroup = process.unit = process.container = ""
        if sys.getsizeof(process.exe) > SHORT:
            process.exe = ""
        self._orphan(process)

    def _weigh(self, process: Process) -> None:
        weight = _weight(process)
        self._text += weight - process.weight
        process.weight = weight

    def _read(self, pid: int, started: int | None) -> Process | None:
        """What /proc says; None when the process is gone, or another has its number."""
        folder = self._proc / str(pid)
        try:
            name, fields = _stat(folder)
            exe = _link(folder / "exe")
            process = Process(
                pid,
                started or int(fields[19]) * _TICK,
                name=name,
                exe=exe.removesuffix(" (deleted)"),
                # A file that an upgrade has replaced since is removed too, and was none in memory when it was started.
                in_memory=exe.startswith("/memfd:"),
                arguments=_arguments(_beginning(folder / "cmdline")),
                cwd=_link(folder / "cwd"),
                tty=_tty(int(fields[4])),
                session=int(fields[3]),
            )
            if started is not None and int(fields[19]) != started // _TICK:
                return None
            uids = _status(folder)
        except (OSError, ValueError, IndexError):
            return None
        process.real_uid, process.uid, process.gid = uids
        return process

    def _parent_of(self, pid: int) -> int:
        try:
            return int(_stat(self._proc / str(pid))[1][1])
        except (OSError, ValueError, IndexError):
            return 0


def _same(process: Process, started: int) -> bool:
    """Exactly, or as far as /proc told it."""
    return process.started == started or (process.started % _TICK == 0 and process.started // _TICK == started // _TICK)


def _new(record: Record) -> Process:
    return Process(record.pid, record.started)


def _weight(process: Process) -> int:
    """Bytes of memory that its texts take at most; some are other processes' too."""
    texts = (process.exe, process.cwd, process.script, process.cgroup, process.unit, process.container)
    return (
        sum(map(sys.getsizeof, texts)) + sys.getsizeof(process.arguments) + sum(map(sys.getsizeof, process.arguments))
    )


def _arguments(raw: bytes) -> tuple[str, ...]:
    if not raw:
        return ()
    return tuple(text(argument[:ARGUMENT_LIMIT]) for argument in raw.removesuffix(b"\0").split(b"\0"))


def _beginning(file: Path) -> bytes:
    """As much as the sensor tells: how long this is, a process chooses itself."""
    with file.open("rb", buffering=0) as stream:
        return stream.read(MOST_ARGUMENTS)


def _stat(folder: Path) -> tuple[str, list[bytes]]:
    """Name, and the fields that follow it: state, parent, group, session, terminal ..."""
    before, _, after = (folder / "stat").read_bytes().rpartition(b")")
    return text(before.partition(b"(")[2]), after.split()


def _status(folder: Path) -> tuple[int, int, int]:
    """Real user, effective user, effective group."""
    lines = (folder / "status").read_bytes().splitlines()
    uids = next(line for line in lines if line.startswith(b"Uid:")).split()
    gids = next(line for line in lines if line.startswith(b"Gid:")).split()
    return int(uids[1]), int(uids[2]), int(gids[2])


def _link(path: Path) -> str:
    try:
        return os.readlink(path)
    except OSError:
        # Threads of the kernel have no program.
        return ""


def _tty(encoded: int) -> int:
    """From the kernel's encoding for user space to major << 20 | minor."""
    major, minor = (encoded >> 8) & 0xFFF, (encoded & 0xFF) | ((encoded >> 12) & 0xFFF00)
    return major << 20 | minor
