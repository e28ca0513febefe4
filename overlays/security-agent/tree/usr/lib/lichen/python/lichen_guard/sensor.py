"""The sensor: BPF programs in the kernel, events out of them."""

from __future__ import annotations

import contextlib
import os
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lichen_agent.cgroups import Cgroups
from lichen_agent.libbpf import BpfError, BpfObject, Library, Map, Ring

from .credentials import Credentials
from .event import Event
from .ours import objects
from .places import PlaceError, exempt, layout, without_place
from .processes import ProcessTable
from .record import KINDS, Record, RecordError, event, parse
from .watch import Denial, Watch

_SETTINGS = struct.Struct("<5Q4I")
# Tables of the kernel's part, with the bytes of a key and of a value.
_TABLES = {"places": (260, 48), "names": (64, 4), "exempt": (16, 8), "ours": (8, 4)}
# What tells every way in which a process can become root.
_EXPLAINING = ("lsm/task_fix_setuid", "lsm/bprm_committing_creds")
_LSM = Path("/sys/kernel/security/lsm")
# How often it is seen whether programs that denials let through were replaced, by an update for example.
_EXEMPT_SECONDS = 10.0
# After some events the next are left to gather for so long: every record wakes whoever has read all before it.
_REST_SECONDS = 0.005


class SensorError(Exception):
    """The sensor cannot do what it is asked.

    Attributes:
        what: went wrong.
        why: in the words of the kernel or libbpf.
        remedy: what to do.
    """

    def __init__(self, what: str, why: str, remedy: str) -> None:
        super().__init__(f"{what}: {why}. {remedy}")
        self.what, self.why, self.remedy = what, why, remedy


class Sensor:
    """The sensor in this process; what the process itself does is not told. A context manager.

    Args:
        object_file: ``lichen-guard.bpf.o``.
        ring_bytes: room for records that are not yet read, rounded up to a power of two.

    Attributes:
        faulty: how many records could not be understood.

    Raises:
        SensorError: it cannot be loaded, or no hook that matters could be attached.
    """

    def __init__(self, object_file: Path, *, ring_bytes: int) -> None:
        self.faulty = 0
        self._denials: tuple[Denial, ...] = ()
        self._watches: tuple[Watch, ...] = ()
        # What the kernel's maps hold.
        self._held: dict[str, dict[bytes, bytes]] = {name: {} for name in _TABLES}
        self._ordered = b""
        self._generation, self._enforcing, self._checked = 0, False, time.monotonic()
        self._told, self._rests_until = 0, 0.0
        try:
            self._library = Library()
            self._cpus = self._library.call("libbpf_num_possible_cpus")
            # 37 KiB each; machines that could have hundreds of CPUs seldom do.
            slots = max(8, min(2 * self._cpus, 256))
            entries = {"ring": _power_of_two(ring_bytes), "scratches": slots, "slots": slots}
            self._object = BpfObject(self._library, object_file, entries)
        except BpfError as error:
            raise SensorError("the sensor cannot be loaded", str(error), _remedy()) from error
        self._cgroups = Cgroups()
        self._processes = ProcessTable(self._cgroups)
        self._credentials, self._untold = Credentials(), 0
        try:
            self._tables = {name: self._object.map(name) for name in _TABLES}
            self._lost, self._settings = self._object.map("lost"), self._object.map(".data.settings")
            self._ring = Ring(self._library, self._object.map("ring"), self._receive)
            self._slots = slots
            self._configure()
            self._object.attach()
            self._fill("ours", objects())
        except BpfError as error:
            self._object.close()
            raise SensorError("the sensor cannot be started", str(error), _remedy()) from error
        self._judge_hooks()
        # What was started before the programs were attached; what happens meanwhile waits in the ring.
        self._processes.scan()

    def _judge_hooks(self) -> None:
        hooks = self._object.hooks
        inactive = _inactive_lsm()
        for section, state in hooks.items():
            if inactive and section.startswith("lsm/") and state == "attached":
                hooks[section] = inactive
        if "attached" in hooks.values():
            return
        self.close()
        raise SensorError("no hook could be attached", next(iter(hooks.values()), "the object is empty"), _remedy())

    def __enter__(self) -> Sensor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def hooks(self) -> Mapping[str, str]:
        """Hook (``lsm/file_open``, ``fexit/d_move``) -> "attached", or the reason why it is not."""
        return self._object.hooks

    def set_watches(self, watches: Sequence[Watch]) -> None:
        """Replaces the files of interest.

        Raises:
            SensorError: one of them does not fit into the kernel's maps; the old ones stay.
        """
        self._lay(tuple(watches), self._denials)

    def set_denials(self, denials: Sequence[Denial]) -> None:
        """Replaces what the kernel shall refuse; it does while :meth:`enforce` is on.

        Raises:
            SensorError: one of them does not fit into the kernel's maps; the old ones stay.
        """
        self._lay(self._watches, tuple(denials))

    def enforce(self, enforcing: bool) -> None:
        """Whether the kernel refuses what denials say, or lets all through."""
        self._enforcing = enforcing
        self._configure()

    def poll(self, timeout_ms: int, callback: Callable[[Event], None]) -> int:
        """Waits for events at most so long and hands over those that are there.

        Returns:
            How many there were.

        Raises:
            SensorError: the ring buffer cannot be read.
            Exception: what ``callback`` raises; the events after that one come with the next call.
        """
        self._callback = callback
        before = self._told
        try:
            if self._denials and time.monotonic() - self._checked >= _EXEMPT_SECONDS:
                self._update_exempt()
            time.sleep(max(0.0, self._rests_until - time.monotonic()))
            self._ring.poll(timeout_ms)
        except BpfError as error:
            raise SensorError("events cannot be read", str(error), "Restart the agent.") from error
        if self._told > before:
            self._rests_until = time.monotonic() + _REST_SECONDS
        return self._told - before

    def lost(self) -> Mapping[str, int]:
        """How many events of each kind were dropped so far, because the ring or the scratch buffers were full."""
        lost: dict[str, int] = {}
        for number, kind in enumerate(KINDS):
            counts = self._lost.get(struct.pack("<I", number), 8 * self._cpus)
            lost[kind] = sum(struct.unpack(f"<{self._cpus}Q", counts))
        return lost

    def repair(self) -> Sequence[str]:
        """Looks whether settings and tables still are what they were made, and makes them so again.

        Returns:
            The names of those that somebody else had changed.

        Raises:
            SensorError: they cannot be read, or not be written any more.
        """
        try:
            changed = [name for name in _TABLES if self._repair(name)]
            if self._settings.get(bytes(4), _SETTINGS.size) != self._ordered:
                changed.append("settings")
            if changed:
                # Verdicts made meanwhile are void.
                self._generation += 1
                self._configure()
        except BpfError as error:
            raise SensorError("the sensor cannot be kept as it was", str(error), "Restart the agent.") from error
        return changed

    def close(self) -> None:
        """Detaches everything; nothing is refused any more."""
        self._ring.close()
        self._object.close()
        self._cgroups.close()

    def _lay(self, watches: tuple[Watch, ...], denials: tuple[Denial, ...]) -> None:
        before = self._watches, self._denials
        try:
            self._put(watches, denials)
        except PlaceError as error:
            raise SensorError("the rules do not fit", str(error), "Change the rules.") from error
        except BpfError as error:
            self._put(*before)
            raise SensorError("the rules cannot be given to the kernel", str(error), "Use fewer paths.") from error

    def _put(self, watches: tuple[Watch, ...], denials: tuple[Denial, ...]) -> None:
        laid = layout(watches, denials)
        # Numbers may mean other denials now: meanwhile none may hold.
        self._configure(paused=True)
        self._fill("places", laid.places)
        self._fill("names", laid.names)
        self._watches, self._denials = watches, denials
        self._update_exempt()
        self._generation += 1
        self._configure()

    def _fill(self, table: str, new: Mapping[bytes, bytes]) -> None:
        _replace(self._tables[table], self._held[table], new)

    def _repair(self, table: str) -> bool:
        found, held = _contents(self._tables[table], *_TABLES[table]), self._held[table]
        if found == held:
            return False
        _replace(self._tables[table], found, held)
        return True

    def _update_exempt(self) -> None:
        self._fill("exempt", exempt(self._denials))
        self._checked = time.monotonic()

    def _configure(self, *, paused: bool = False) -> None:
        masks = [without_place(self._denials, kind) for kind in ("exec-in-memory", "module", "ptrace", "bpf")]
        switches = self._enforcing and not paused, any(denial.kind == "exec" for denial in self._denials)
        self._ordered = _SETTINGS.pack(self._generation, *masks, os.getpid(), *switches, self._slots)
        self._settings.set(bytes(4), self._ordered)

    def _receive(self, data: bytes) -> None:
        try:
            made = self._interpret(parse(data))
        except RecordError:
            self.faulty += 1
            return
        for one in made:
            self._told += 1
            self._callback(one)

    def _interpret(self, record: Record) -> list[Event]:
        """Mostly one event; none of what only tells more about others."""
        before, rights = self._credentials.follow(record), None
        match record.kind:
            case "fork":
                process = self._processes.forked(record)
            case "exec":
                process, rights = self._processes.executed(record), self._credentials.brought(record)
            case _:
                process = self._processes.of(record)
        made = []
        if before is not None and self._nothing_was_lost():
            how = {"old_uid": before, "new_uid": record.uid, "unexplained": True}
            made.append(Event("setuid", record.time, process, record.thread, **how))  # type: ignore[arg-type]
        match record.kind:
            case "script":
                self._processes.script(record)
            case "rights":
                self._credentials.granted(record)
            case "fork":
                pass
            case _:
                made.append(event(record, process, self._rule(record.denied), rights))
        return made

    def _nothing_was_lost(self) -> bool:
        """Whether nothing was lost since the last time that could have told how somebody became root."""
        if any(self._object.hooks.get(hook) != "attached" for hook in _EXPLAINING):
            return False
        lost = self.lost()
        untold, self._untold = self._untold, lost["setuid"] + lost["rights"]
        if self._untold != untold:
            self._credentials.forget()
        return self._untold == untold

    def _rule(self, denied: int) -> str:
        """Name of the first denial in the mask."""
        number = (denied & -denied).bit_length() - 1
        if number < 0:
            return ""
        # It may have been replaced while the record was waiting.
        return self._denials[number].rule if number < len(self._denials) else "unknown"


def _replace(target: Map, held: dict[bytes, bytes], new: Mapping[bytes, bytes]) -> None:
    """Make a map hold ``new``; ``held`` is what it holds, also when this fails in the middle."""
    # First away, then in: both together may not fit.
    for key in held.keys() - new.keys():
        target.remove(key)
        del held[key]
    for key, value in new.items():
        if held.get(key) != value:
            target.set(key, value)
            held[key] = value


def _contents(target: Map, key_bytes: int, value_bytes: int) -> dict[bytes, bytes]:
    found = {}
    for key in target.keys(key_bytes):
        # What goes while we read is missing, which is found as well.
        with contextlib.suppress(BpfError):
            found[key] = target.get(key, value_bytes)
    return found


def _power_of_two(size: int) -> int:
    page = os.sysconf("SC_PAGE_SIZE")
    return 1 << (max(size, page) - 1).bit_length()


def _inactive_lsm() -> str:
    """Why LSM hooks are never called; "" when they are, or when that cannot be seen."""
    try:
        active = _LSM.read_text()
    except OSError:
        return ""
    if "bpf" in active.strip().split(","):
        return ""
    return (
        f"bpf is not among the active security modules ({active.strip()}): add it to lsm= on the kernel's command line"
    )


def _remedy() -> str:
    if os.geteuid() != 0:
        return "It must run as root, or with CAP_BPF and CAP_PERFMON."
    if not Path("/sys/kernel/btf/vmlinux").exists():
        return "The kernel needs CONFIG_DEBUG_INFO_BTF."
    return "The kernel needs the options of kernel-configs/bpf-security.config; lockdown=confidentiality forbids BPF."
