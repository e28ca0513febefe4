"""The scheduler in the kernel: loads the programs, attaches one of their two entrances, reads and writes their maps."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from lichen_agent.libbpf import BpfError, BpfObject, Library, Map, Ring

from . import layout, machine
from .layout import Control, Counter, Ending, Owner, Share, Tree

OBJECT = Path("/usr/lib/lichen/bpf/lichen-sched.bpf.o")
_SCHED_EXT = Path("/sys/kernel/sched_ext")
_TYPES = Path("/sys/kernel/btf/vmlinux")
_LET_GO_SECONDS = 10.0
# Of enum scx_exit_kind: detached by who attached it.
_BY_US = 64
# The table of functions with cgroups' weights, and the one without for kernels that do not tell them.
_WEIGHTED, _FLAT = "lichen", "lichen_flat"
_OBSERVE = ("tp_btf/sched_waking", "tp_btf/sched_wakeup", "tp_btf/sched_wakeup_new", "tp_btf/sched_switch")
_BOTH = ("tp_btf/sched_process_fork",)
_MAPS = ("control", "trees", "samples", "counters", "delays", "shares", "ending", "roots", "oracle", ".data.epoch")


class Mode(StrEnum):
    """What the programs do."""

    OFF = "off"  # nothing is attached
    OBSERVE = "observe"  # the kernel's own scheduler (EEVDF) decides; bursts and delays are measured
    ACTIVE = "active"  # ours decides, and measures the same


class SchedulerError(Exception):
    """The scheduler cannot do what it is asked.

    Attributes:
        what: went wrong.
        why: in the words of the kernel or libbpf.
        remedy: what to do.
    """

    def __init__(self, what: str, why: str, remedy: str) -> None:
        super().__init__(f"{what}: {why}. {remedy}")
        self.what, self.why, self.remedy = what, why, remedy


class Kernel(Protocol):
    """What the agent needs of the scheduler in the kernel; :class:`Scheduler` is the real one.

    Every method may raise :class:`SchedulerError`; those that write raise ValueError when a number does not fit.
    Counters, delays and shares count from loading on, in all modes, and never go back; who wants them of an interval
    takes the difference.
    """

    @property
    def support(self) -> str:
        """Why this kernel cannot have the mode active; "" when it can."""

    @property
    def mode(self) -> Mode:
        """What is in force now. Active becomes off when the kernel ends the scheduler; :meth:`ending` says why."""

    def set_mode(self, mode: Mode) -> None:
        """Attaches and detaches. When it fails, the mode is off: the kernel's own scheduler decides."""

    def control(self) -> Control:
        """What is in force."""

    def set_control(self, **changes: Any) -> Control:
        """Replaces fields of the control (by name) in one step; ``generation`` goes up by itself.

        Returns:
            What is in force now.
        """

    def write_model(self, trees: Sequence[Tree], base: int) -> Control:
        """Writes an ensemble into the slot that is not in force, and then puts that slot into force, in one step.

        The predictor stays what it is: ``set_control(predictor=Predictor.TREES)`` lets the ensemble predict.

        Returns:
            What is in force now; samples with its generation were predicted by it.
        """

    def poll(self, timeout_ms: int, receive: Callable[[bytes], None]) -> int:
        """Waits for samples at most so long, and hands over those that are there, each ``layout.SAMPLE`` long.

        Returns:
            How many there were.
        """

    def counters(self) -> dict[Counter, int]:
        """The sums over all processors; of LONGEST_NS the largest."""

    def delays(self) -> list[int]:
        """How many waits for a processor fell into each bucket (``layout.bucket_start_ns``), over all processors."""

    def shares(self) -> dict[Owner, Share]:
        """What tasks of each cgroup and user got."""

    def ending(self) -> Ending | None:
        """Why the kernel ended the scheduler the last time it was active; None while it has not."""

    def set_roots(self, roots: Mapping[int, int]) -> None:
        """Gives tasks (by their thread's number) identities, not 0; children's follow. For the ablation only."""

    def set_oracle(self, bursts: Iterable[tuple[int, int, int]]) -> None:
        """What the predictor ORACLE knows: identity, sequence, nanoseconds. Replaces what it knew."""

    def close(self) -> None:
        """Detaches and unloads everything."""


class Scheduler:
    """The programs, loaded from this process; when it ends, however it does, the kernel's own scheduler decides.

    A context manager. See :class:`Kernel` for what its methods do.

    Args:
        object_file: ``lichen-sched.bpf.o``.
        ring_bytes: room for samples that are not yet read, rounded up to a power of two.
        oracle_bursts: room for what the predictor ORACLE knows, for the ablation only.
        stall: name of tasks that the active mode forgets, so that tests see the kernel's watchdog; otherwise "".

    Raises:
        SchedulerError: the programs cannot be loaded, not even those that observe.
    """

    def __init__(
        self, object_file: Path = OBJECT, *, ring_bytes: int = 4 << 20, oracle_bursts: int = 1, stall: str = ""
    ) -> None:
        self._mode, self._epoch, self._received = Mode.OFF, 0, 0
        self._receive: Callable[[bytes], None] = lambda _: None
        self._support, self._table = _missing(), _FLAT if _without_groups() else _WEIGHTED
        try:
            self._library = Library()
            cpus = self._library.call("libbpf_num_possible_cpus")
            values = {".rodata.machine": machine.pack(cpus, machine.nodes(), stall)}
            entries = {"samples": _power_of_two(ring_bytes), "oracle": max(1, oracle_bursts)}
            self._object = self._load(object_file, entries, values)
        except (BpfError, ValueError, OSError) as error:
            raise SchedulerError("the scheduler's programs cannot be loaded", str(error), _remedy()) from error
        try:
            self._maps = {name: self._object.map(name) for name in _MAPS}
            self._ring = Ring(self._library, self._maps["samples"], self._got)
            self._write(Control())
        except BpfError as error:
            self._object.close()
            raise SchedulerError("the scheduler cannot be read", str(error), "Load it anew.") from error

    def _load(self, file: Path, entries: Mapping[str, int], values: Mapping[str, bytes]) -> BpfObject:
        """With the scheduler where the kernel can have it; otherwise the programs that observe."""
        tables = {_WEIGHTED, _FLAT}
        if not self._support:
            try:
                made = BpfObject(self._library, file, entries, values=values, without=tables - {self._table})
            except BpfError as error:
                self._support = str(error)
            else:
                refused = [f"{name}: {why}" for name, why in made.hooks.items() if name.startswith("struct_ops")]
                if not refused:
                    return made
                made.close()
                self._support = f"the kernel refuses a program of the scheduler, {refused[0]}"
        return BpfObject(self._library, file, entries, values=values, without=tables)

    def __enter__(self) -> Scheduler:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def support(self) -> str:  # noqa: D102
        return self._support

    @property
    def weights(self) -> bool:
        """Whether the kernel tells cgroups' weights; otherwise nice values alone count in the mode active."""
        return self._table == _WEIGHTED

    @property
    def mode(self) -> Mode:  # noqa: D102
        if self._mode is Mode.ACTIVE and self.ending():
            self._detach()
        return self._mode

    def set_mode(self, mode: Mode) -> None:  # noqa: D102
        if mode is self.mode:
            return
        self._detach()
        # Bursts that the one entrance began are not for the other to end.
        self._epoch += 1
        self._set(".data.epoch", struct.pack("<Q", self._epoch))
        try:
            if mode is Mode.OBSERVE:
                self._attach((*_OBSERVE, *_BOTH))
            elif mode is Mode.ACTIVE:
                self._activate()
        except SchedulerError:
            self._object.detach()
            raise
        self._mode = mode

    def _detach(self) -> None:
        was, self._mode = self._mode, Mode.OFF
        self._object.detach()
        # The kernel lets go of a scheduler a moment later, and takes no other until then.
        end = time.monotonic() + _LET_GO_SECONDS
        while was is Mode.ACTIVE and _other().startswith(_WEIGHTED) and time.monotonic() < end:
            time.sleep(0.01)

    def _attach(self, sections: Sequence[str]) -> None:
        self._object.attach(sections)
        hooks = self._object.hooks
        missing = [f"{name}: {hooks[name]}" for name in sections if hooks.get(name) != "attached"]
        if missing:
            raise SchedulerError("bursts cannot be observed", missing[0], _remedy())

    def _activate(self) -> None:
        if self._support:
            raise SchedulerError("the mode active is not to be had", self._support, _remedy())
        self._set("ending", bytes(layout.ENDING.size))
        try:
            self._attach(_BOTH)
            self._object.attach_struct_ops(self._table)
        except BpfError as error:
            end = self.ending()
            why = f"{error}; {end.reason}: {end.message}" if end else str(error)
            raise SchedulerError("the kernel does not take the scheduler", why, _busy()) from error

    def control(self) -> Control:  # noqa: D102
        return Control.unpack(self._get("control", bytes(4), layout.CONTROL.size))

    def set_control(self, **changes: Any) -> Control:  # noqa: D102
        now = self.control()
        new = replace(now, **changes, generation=now.generation + 1)
        self._write(new)
        return new

    def write_model(self, trees: Sequence[Tree], base: int) -> Control:  # noqa: D102
        before = self.control()
        slot = 1 - before.slot
        for number, data in enumerate(layout.pack_trees(trees)):
            self._set("trees", struct.pack("<I", slot * layout.TREES + number), data)
        counts, bases = list(before.trees), list(before.base)
        counts[slot], bases[slot] = len(trees), base
        # The kernel copies the control word by word: what the slot stands for has to be there before it.
        self._write(replace(before, trees=(counts[0], counts[1]), base=(bases[0], bases[1])))
        return self.set_control(slot=slot)

    def poll(self, timeout_ms: int, receive: Callable[[bytes], None]) -> int:  # noqa: D102
        self._receive, before = receive, self._received
        try:
            self._ring.poll(timeout_ms)
        except BpfError as error:
            raise SchedulerError("samples cannot be read", str(error), "Restart the agent.") from error
        return self._received - before

    def counters(self) -> dict[Counter, int]:  # noqa: D102
        found = {counter: self._each("counters", counter) for counter in Counter}
        return {
            counter: max(values) if counter is Counter.LONGEST_NS else sum(values) for counter, values in found.items()
        }

    def delays(self) -> list[int]:  # noqa: D102
        return [sum(self._each("delays", number)) for number in range(layout.BUCKETS)]

    def shares(self) -> dict[Owner, Share]:  # noqa: D102
        found: dict[Owner, Share] = {}
        try:
            for key in self._maps["shares"].keys(layout.OWNER.size):
                try:
                    value = self._maps["shares"].get(key, layout.SHARE.size)
                except BpfError:  # it made room for another since
                    continue
                found[Owner(*layout.OWNER.unpack(key))] = Share(*layout.SHARE.unpack(value))
        except BpfError as error:
            raise SchedulerError("the shares cannot be read", str(error), "Restart the agent.") from error
        return found

    def ending(self) -> Ending | None:  # noqa: D102
        kind, code, reason, message = layout.ENDING.unpack(self._get("ending", bytes(4), layout.ENDING.size))
        if kind in (0, _BY_US):
            return None
        return Ending(kind, code, layout.text(reason), layout.text(message).strip())

    def set_roots(self, roots: Mapping[int, int]) -> None:  # noqa: D102
        if not all(roots.values()):
            raise ValueError("an identity is not 0")
        for pid, identity in roots.items():
            self._set("roots", struct.pack("<I", pid), struct.pack("<Q", identity))

    def set_oracle(self, bursts: Iterable[tuple[int, int, int]]) -> None:  # noqa: D102
        try:
            for key in self._maps["oracle"].keys(layout.RECORDED.size):
                self._maps["oracle"].remove(key)
        except BpfError as error:
            raise SchedulerError("recorded bursts cannot be removed", str(error), "Load it anew.") from error
        for identity, sequence, burst_ns in bursts:
            self._set("oracle", layout.RECORDED.pack(identity, sequence), struct.pack("<Q", burst_ns))

    def close(self) -> None:  # noqa: D102
        self._mode = Mode.OFF
        self._ring.close()
        self._object.close()

    def _got(self, data: bytes) -> None:
        self._received += 1
        self._receive(data)

    def _write(self, new: Control) -> None:
        self._set("control", new.pack())

    def _map(self, name: str) -> Map:
        return self._maps[name]

    def _each(self, name: str, number: int) -> list[int]:
        try:
            values = self._map(name).get_each(struct.pack("<I", number), 8)
        except BpfError as error:
            raise SchedulerError(f"{name} cannot be read", str(error), "Restart the agent.") from error
        return [int.from_bytes(value, "little") for value in values]

    def _get(self, name: str, key: bytes, size: int) -> bytes:
        try:
            return self._map(name).get(key, size)
        except BpfError as error:
            raise SchedulerError(f"{name} cannot be read", str(error), "Restart the agent.") from error

    def _set(self, name: str, *pair: bytes) -> None:
        key, value = pair if len(pair) == 2 else (bytes(4), pair[0])
        try:
            self._map(name).set(key, value)
        except BpfError as error:
            raise SchedulerError(f"{name} cannot be written", str(error), "Restart the agent.") from error


def _missing() -> str:
    """Why the kernel has no sched_ext; "" when it has."""
    if _SCHED_EXT.exists():
        return ""
    return f"this kernel ({os.uname().release}) has no sched_ext: it is built without CONFIG_SCHED_CLASS_EXT"


def _without_groups() -> bool:
    """Whether the kernel's sched_ext is built without CONFIG_EXT_GROUP_SCHED: its types have no such function then."""
    try:
        return b"\0cgroup_set_weight\0" not in _TYPES.read_bytes()
    except OSError:
        return True


def _other() -> str:
    """Name of the scheduler of sched_ext that is in force; "" when there is none."""
    try:
        return (_SCHED_EXT / "root/ops").read_text().strip()
    except OSError:
        return ""


def _busy() -> str:
    other = _other()
    return f"Stop the scheduler that runs already: {other}." if other else "The kernel's own scheduler goes on."


def _remedy() -> str:
    if os.geteuid() != 0:
        return "It must run as root, or with CAP_BPF and CAP_PERFMON."
    if not _TYPES.exists():
        return "The kernel needs CONFIG_DEBUG_INFO_BTF."
    return "Active needs a kernel with the options of kernel-configs/sched-ext.config; observing needs BPF and BTF."


def _power_of_two(size: int) -> int:
    page = os.sysconf("SC_PAGE_SIZE")
    return 1 << (max(size, page) - 1).bit_length()
