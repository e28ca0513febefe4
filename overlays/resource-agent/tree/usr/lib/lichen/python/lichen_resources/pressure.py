"""What the kernel says of a cgroup: pressure, memory, processor time, disk. Parsers take text."""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .units import UNLIMITED, Knob

RESOURCES: tuple[Knob, ...] = ("cpu", "io", "memory")
FILES: Mapping[Knob, str] = {"cpu": "cpu.weight", "io": "io.weight", "memory": "memory.high"}
_LINE = re.compile(r"(some|full) avg10=(\d+\.\d+) avg60=\d+\.\d+ avg300=\d+\.\d+ total=(\d+)")


class PressureOff(Exception):
    """The kernel counts no pressure; the message says why and what to do."""


@dataclass(frozen=True)
class Pressure:
    """Of one resource: percent of the last ten seconds, and microseconds since boot."""

    some: float
    full: float
    some_total: int
    full_total: int


def parse_pressure(text: str) -> Pressure:
    """A pressure file. The machine's own of cpu has no ``full`` in old kernels: 0.

    Raises:
        ValueError: it is no such file.
    """
    found = {match[1]: (float(match[2]), int(match[3])) for match in _LINE.finditer(text)}
    if "some" not in found:
        raise ValueError(f"no pressure: {text[:80]!r}")
    full = found.get("full", (0.0, 0))
    return Pressure(found["some"][0], full[0], found["some"][1], full[1])


def parse_numbers(text: str) -> dict[str, int]:
    """Files as memory.stat: a name and a number on each line; other lines are passed over."""
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}


def parse_io(text: str) -> int:
    """Bytes read and written on all disks, of io.stat."""
    return sum(int(match[1]) for match in re.finditer(r"\b[rw]bytes=(\d+)", text))


def working_set(stat: Mapping[str, int]) -> int:
    """Bytes that a cgroup cannot do without: what is no file, files in frequent use, and what the kernel keeps for it.

    Without swap only files can be taken away; those that were used once only are what batch gives up.
    """
    kernel = stat.get("kernel", 0) - stat.get("slab_reclaimable", 0)
    files = stat.get("active_file", 0)
    return stat.get("anon", 0) + stat.get("shmem", 0) + files + max(0, kernel) + stat.get("unevictable", 0)


class Cgroup:
    """The files of one cgroup.

    Raises:
        FileNotFoundError: of any method: it is gone.
    """

    def __init__(self, root: Path, path: str) -> None:
        self.folder = root / path.strip("/")

    def exists(self) -> bool:
        """Whether it is there."""
        return (self.folder / "cgroup.events").exists() or (self.folder / "cgroup.controllers").exists()

    def pressures(self) -> dict[Knob, Pressure]:
        """Of all resources that can be read; none when the kernel counts no pressure here."""
        found: dict[Knob, Pressure] = {}
        for resource in RESOURCES:
            text = self._text(f"{resource}.pressure")
            if text is not None:
                found[resource] = parse_pressure(text)
        return found

    def value(self, knob: Knob) -> int | None:
        """What a knob is at; None where its controller is off."""
        text = self._text(FILES[knob])
        if text is None or not text.split():
            return None
        word = text.split()[-1] if knob != "io" else _default_io(text)
        return UNLIMITED if word == "max" else int(word)

    def limits(self) -> list[int]:
        """Bytes of memory.max, where it is given."""
        text = (self._text("memory.max") or "max").strip()
        return [] if text == "max" else [int(text)]

    def memory(self) -> tuple[int, int]:
        """Bytes in use, and of those the working set."""
        current = self._text("memory.current")
        stat = self._text("memory.stat")
        return int(current or 0), working_set(parse_numbers(stat or ""))

    def limit_events(self) -> int:
        """How often it, or what is within it, ran into its own memory limit.

        memory.events would also have those of limits within it (cgroup-v2.rst, "memory.events.local"): a student at
        his own MemoryMax says nothing about the class.
        """
        events = parse_numbers(self._text("memory.events.local") or "")
        return events.get("max", 0) + events.get("high", 0)

    def processor_time(self) -> int:
        """Microseconds used by it and all within."""
        return parse_numbers(self._text("cpu.stat") or "").get("usage_usec", 0)

    def disk_bytes(self) -> int:
        """Bytes read and written; 0 where the io controller is off."""
        return parse_io(self._text("io.stat") or "")

    def _text(self, name: str) -> str | None:
        try:
            return (self.folder / name).read_text(encoding="ascii", errors="replace")
        except OSError as error:
            # No such file: the controller is off. Not supported: pressure is, for all or for this cgroup.
            if error.errno in (errno.ENOENT, errno.EOPNOTSUPP, errno.ENODEV):
                return None
            raise


def _default_io(text: str) -> str:
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["default"]:
            return words[1]
    return text.rsplit(maxsplit=1)[-1]


def check_pressure(proc: Path = Path("/proc")) -> None:
    """Look whether the kernel counts pressure.

    Raises:
        PressureOff: it does not.
    """
    try:
        (proc / "pressure/cpu").read_text(encoding="ascii")
    except FileNotFoundError as error:
        told = "the kernel was made without CONFIG_PSI; nothing is adjusted. Take a kernel that has it"
        raise PressureOff(told) from error
    except OSError as error:
        told = (
            f"pressure is switched off ({error.strerror}); nothing is adjusted. Put psi=1 on the kernel's command line"
        )
        raise PressureOff(told) from error


def io_weight_works(root: Path, sys: Path = Path("/sys")) -> bool:
    """Does any disk heed io.weight? One does with the scheduler bfq, or with io.cost switched on."""
    try:
        if "enable=1" in (root / "io.cost.qos").read_text(encoding="ascii"):
            return True
    except OSError:
        pass
    schedulers = (sys / "block").glob("*/queue/scheduler")
    return any("[bfq]" in path.read_text(encoding="ascii", errors="replace") for path in schedulers)


def memory_total(proc: Path = Path("/proc")) -> int:
    """Bytes of the machine."""
    for line in (proc / "meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    raise OSError("MemTotal is missing in /proc/meminfo")
