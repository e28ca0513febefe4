"""The few functions of libbpf.so.1 that the agents need; all are in 1.1 as well as in 1.5."""

from __future__ import annotations

import ctypes
import errno
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

_Sample = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
# The third argument is a va_list: on amd64, arm64 and riscv64 the calling convention makes it one pointer.
_Print = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)

_POINTERS = (
    "bpf_object__open_file",
    "bpf_object__next_program",
    "bpf_object__find_map_by_name",
    "bpf_program__attach",
    "bpf_map__attach_struct_ops",
    "ring_buffer__new",
)
_NAMES = ("bpf_program__name", "bpf_program__section_name")
_ARGUMENTS = {
    "bpf_object__open_file": "sp",
    "bpf_object__next_program": "pp",
    "bpf_object__find_map_by_name": "ps",
    "bpf_object__load": "p",
    "bpf_object__close": "p",
    "bpf_program__name": "p",
    "bpf_program__section_name": "p",
    "bpf_program__set_autoload": "pb",
    "bpf_program__attach": "p",
    "bpf_link__detach": "p",
    "bpf_link__destroy": "p",
    "bpf_map__fd": "p",
    "bpf_map__set_max_entries": "pu",
    "bpf_map__set_initial_value": "psl",
    "bpf_map__set_autocreate": "pb",
    "bpf_map__attach_struct_ops": "p",
    "bpf_map_update_elem": "issl",
    "bpf_map_delete_elem": "is",
    "bpf_map_lookup_elem": "isp",
    "bpf_map_get_next_key": "isp",
    "ring_buffer__new": "icpp",
    "ring_buffer__poll": "pi",
    "ring_buffer__consume": "p",
    "ring_buffer__free": "p",
    "libbpf_num_possible_cpus": "",
    "libbpf_set_print": "f",
}
_TYPES = {
    "p": ctypes.c_void_p,
    "s": ctypes.c_char_p,
    "b": ctypes.c_bool,
    "u": ctypes.c_uint32,
    "i": ctypes.c_int,
    "l": ctypes.c_uint64,
    "c": _Sample,
    "f": _Print,
}
_FAULT = re.compile(r"prog '(\w+)': (.+)")


class BpfError(Exception):
    """libbpf or the kernel refused something; the message says what and why, in their words."""


class Library:
    """The shared library, and the last things it complained about.

    Raises:
        BpfError: there is no libbpf.so.1.
    """

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL("libbpf.so.1", use_errno=True)
        except OSError as error:
            raise BpfError(f"libbpf.so.1 cannot be loaded: {error}") from error
        self._format = ctypes.CDLL(None).vsnprintf
        self._format.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_void_p)
        self.complaints: list[str] = []
        for name, kinds in _ARGUMENTS.items():
            function = getattr(self._library, name)
            function.argtypes = [_TYPES[kind] for kind in kinds]
            function.restype = (
                ctypes.c_void_p if name in _POINTERS else ctypes.c_char_p if name in _NAMES else ctypes.c_int
            )
        # The library keeps pointers to it.
        self._printer = _Print(self._print)
        self.call("libbpf_set_print", self._printer)

    def call(self, name: str, *arguments: object) -> int:
        """The function's result: a number, or an address, 0 for none."""
        return getattr(self._library, name)(*arguments) or 0

    def name(self, name: str, program: int) -> str:
        """What a function says that answers with a string."""
        return str(getattr(self._library, name)(program).decode())

    def check(self, what: str, result: int) -> None:
        """Raises BpfError when a result of :meth:`call` is a negative error number."""
        if result < 0:
            raise BpfError(f"{what}: {os.strerror(-result)}")

    def _print(self, level: int, form: bytes, values: int) -> int:
        if level == 0:
            # The verifier's log comes in one piece, and its end says what is wrong.
            buffer = ctypes.create_string_buffer(1 << 20)
            self._format(buffer, len(buffer), form, values)
            self.complaints.append(buffer.value.decode(errors="replace"))
        return 0

    def fault(self) -> tuple[str, str] | None:
        """Of the complaints: which program could not be loaded, and why; None when it was no program's fault."""
        found: tuple[str, str] | None = None
        for complaint in self.complaints:
            for name, said in _FAULT.findall(complaint):
                if found is None or (found[0] == name and "failed to load" not in said and "BEGIN" not in said):
                    found = (name, said.strip())
        log = [line for complaint in self.complaints if "BEGIN PROG LOAD LOG" in complaint for line in lines(complaint)]
        return (found[0], f"{found[1]} ({log[-1]})") if found and log else found


def lines(log: str) -> list[str]:
    """What the verifier says at the end of its log, without its statistics."""
    return [
        line.strip()
        for line in log.splitlines()
        if line.strip() and not line.startswith(("processed ", "--", "libbpf"))
    ]


class BpfObject:
    """An object file in the kernel.

    Args:
        library: libbpf.
        file: the object.
        entries: sizes of maps, by their names.
        values: what sections of constants (``.rodata.NAME``) hold, by their names.
        without: struct_ops maps (tables of functions for the kernel) to leave out, with the programs of them alone.

    Attributes:
        hooks: section of each program -> "attached", or the reason why it is not.

    Raises:
        BpfError: it cannot be opened, or even without the programs that fail it cannot be loaded.
    """

    def __init__(
        self,
        library: Library,
        file: Path,
        entries: Mapping[str, int],
        *,
        values: Mapping[str, bytes] | None = None,
        without: Collection[str] = (),
    ) -> None:
        self._library, self._file, self._entries = library, file, entries
        self._values, self._without = values or {}, without
        self._links: list[int] = []
        self._tables: list[int] = []
        self.hooks: dict[str, str] = {}
        failed: dict[str, str] = {}
        while fault := self._load(failed):
            name, why = fault
            if name in failed:
                raise BpfError(f"{file}: program {name} fails again: {why}")
            failed[name] = why

    def _load(self, without: Mapping[str, str]) -> tuple[str, str] | None:
        """None when it is loaded; otherwise the program that must be left out. What failed once cannot be reused."""
        library = self._library
        library.complaints.clear()
        self._object = library.call("bpf_object__open_file", os.fsencode(self._file), None)
        if not self._object:
            raise BpfError(f"{self._file}: {os.strerror(ctypes.get_errno())}{self._complaint()}")
        self.hooks = {}
        for program in self._programs():
            name = library.name("bpf_program__name", program)
            if name in without:
                library.call("bpf_program__set_autoload", program, False)
                self.hooks[library.name("bpf_program__section_name", program)] = without[name]
        for name, count in self._entries.items():
            library.check(f"size of map {name}", library.call("bpf_map__set_max_entries", self._map(name), count))
        for name, value in self._values.items():
            result = library.call("bpf_map__set_initial_value", self._map(name), value, len(value))
            library.check(f"value of section {name}", result)
        for name in self._without:
            library.check(f"map {name}", library.call("bpf_map__set_autocreate", self._map(name), False))
        result = library.call("bpf_object__load", self._object)
        if result == 0:
            return None
        library.call("bpf_object__close", self._object)
        self._object = 0
        fault = library.fault()
        if fault is None:
            raise BpfError(f"{self._file}: {os.strerror(-result)}{self._complaint()}")
        return fault

    def _complaint(self) -> str:
        return f" ({self._library.complaints[0].strip()})" if self._library.complaints else ""

    def _programs(self) -> Iterator[int]:
        program = 0
        while program := self._library.call("bpf_object__next_program", self._object, program):
            yield program

    def attach(self, only: Collection[str] | None = None) -> None:
        """Attaches programs that were loaded, each for itself; :attr:`hooks` has the results.

        Args:
            only: of these sections; None: all.
        """
        for program in self._programs():
            section = self._library.name("bpf_program__section_name", program)
            if section in self.hooks or (only is not None and section not in only):
                continue
            self._library.complaints.clear()
            link = self._library.call("bpf_program__attach", program)
            if link:
                self._links.append(link)
                self.hooks[section] = "attached"
            else:
                self.hooks[section] = f"{os.strerror(ctypes.get_errno())}{self._complaint()}"

    def attach_struct_ops(self, name: str) -> None:
        """Gives the kernel a table of functions, until :meth:`detach`.

        Raises:
            BpfError: it does not take it.
        """
        self._library.complaints.clear()
        link = self._library.call("bpf_map__attach_struct_ops", self._map(name))
        if not link:
            raise BpfError(f"{name}: {os.strerror(ctypes.get_errno())}{self._complaint()}")
        self._tables.append(link)

    def detach(self) -> None:
        """Detaches everything; it stays loaded and can be attached again. What could not be loaded stays in hooks.

        Programs stay attached for as long as a forked process, which has not executed another program, lives; tables of
        functions do not.
        """
        for link in self._tables:
            self._library.call("bpf_link__detach", link)
            self._library.call("bpf_link__destroy", link)
        self._tables.clear()
        for link in self._links:
            self._library.call("bpf_link__destroy", link)
        self._links.clear()
        self.hooks = {section: state for section, state in self.hooks.items() if state != "attached"}

    def _map(self, name: str) -> int:
        found = self._library.call("bpf_object__find_map_by_name", self._object, name.encode())
        if not found:
            raise BpfError(f"{self._file}: has no map {name}; it is not this agent's sensor")
        return found

    def map(self, name: str) -> Map:
        """A map by its name.

        Raises:
            BpfError: there is none.
        """
        return Map(self._library, name, self._library.call("bpf_map__fd", self._map(name)))

    def close(self) -> None:
        """Detaches and unloads everything."""
        self.detach()
        if self._object:
            self._library.call("bpf_object__close", self._object)
            self._object = 0


# Keys taken in one go; no map of the agents has as many.
MOST_KEYS = 1 << 20


class Map:
    """A map in the kernel; keys and values are bytes."""

    def __init__(self, library: Library, name: str, descriptor: int) -> None:
        self._library, self._name, self.descriptor = library, name, descriptor

    def set(self, key: bytes, value: bytes) -> None:
        """Adds or replaces.

        Raises:
            BpfError: it is full.
        """
        result = self._library.call("bpf_map_update_elem", self.descriptor, key, value, 0)
        self._library.check(f"map {self._name}", result)

    def get(self, key: bytes, size: int) -> bytes:
        """The value, of ``size`` bytes.

        Raises:
            BpfError: there is none.
        """
        value = ctypes.create_string_buffer(size)
        self._library.check(f"map {self._name}", self._library.call("bpf_map_lookup_elem", self.descriptor, key, value))
        return value.raw

    def get_each(self, key: bytes, size: int) -> list[bytes]:
        """The values, of ``size`` bytes each, that all possible processors have in a per-CPU map.

        Raises:
            BpfError: there is none.
        """
        # Each begins at a multiple of eight bytes.
        room = size + 7 & ~7
        value = self.get(key, room * self._library.call("libbpf_num_possible_cpus"))
        return [value[start : start + size] for start in range(0, len(value), room)]

    def keys(self, size: int) -> list[bytes]:
        """The keys, of ``size`` bytes each; of those that come and go meanwhile some may be missing or twice.

        Raises:
            BpfError: the kernel does not tell.
        """
        found: list[bytes] = []
        key, following = None, ctypes.create_string_buffer(size)
        while (result := self._library.call("bpf_map_get_next_key", self.descriptor, key, following)) == 0:
            key = following.raw
            found.append(key)
            # A key that goes while it is asked for makes the kernel begin again.
            if len(found) > MOST_KEYS:
                break
        if result != -errno.ENOENT:
            self._library.check(f"map {self._name}", result)
        return found

    def remove(self, key: bytes) -> None:
        """Removes a key that may be missing."""
        result = self._library.call("bpf_map_delete_elem", self.descriptor, key)
        if result != -errno.ENOENT:
            self._library.check(f"map {self._name}", result)


# Records taken in one go. libbpf goes on for as long as some come, and whoever makes them faster than they are judged
# would keep the loop from its other duties.
MOST_AT_ONCE = 2048


class Ring:
    """A ring buffer's reader.

    Args:
        receive: gets every record; what it raises comes out of :meth:`poll`.

    Raises:
        BpfError: the kernel does not give it.
    """

    def __init__(self, library: Library, source: Map, receive: Callable[[bytes], None]) -> None:
        self._library, self._receive = library, receive
        self._raised: BaseException | None = None
        self._left = MOST_AT_ONCE
        self._sample = _Sample(self._got)
        self._ring = library.call("ring_buffer__new", source.descriptor, self._sample, None, None)
        if not self._ring:
            raise BpfError(f"ring buffer: {os.strerror(ctypes.get_errno())}")

    def _got(self, _context: int, data: int, size: int) -> int:
        try:
            self._receive(ctypes.string_at(data, size))
        except BaseException as error:  # through C no exception can pass
            self._raised = error
            return -errno.ECANCELED
        self._left -= 1
        # libbpf has moved on past this record when it hears so.
        return 0 if self._left > 0 else -errno.EAGAIN

    def poll(self, timeout_ms: int) -> None:
        """Waits for records at most so long, and hands over what is there, :data:`MOST_AT_ONCE` at most.

        Raises:
            BpfError: the kernel refuses.
        """
        # Nobody is waked while we lag behind: what was left over last time is not waited for.
        behind, self._left = self._left == 0, MOST_AT_ONCE
        result = 0 if behind else self._library.call("ring_buffer__poll", self._ring, timeout_ms)
        if result == 0:
            # And records that were sent without waking anybody.
            result = self._library.call("ring_buffer__consume", self._ring)
        if self._raised:
            error, self._raised = self._raised, None
            raise error
        if result not in (-errno.EINTR, -errno.EAGAIN):
            self._library.check("ring buffer", result)

    def close(self) -> None:
        """Frees it."""
        if self._ring:
            self._library.call("ring_buffer__free", self._ring)
            self._ring = 0
