"""The few calls of NVIDIA's management library (NVML) that are needed, by its header nvml.h."""

import ctypes
from dataclasses import dataclass
from typing import Any, Self

LIBRARY = "libnvidia-ml.so.1"
NOT_SUPPORTED = 3
# Longer than NVML_SYSTEM_DRIVER_VERSION_BUFFER_SIZE (80), NVML_DEVICE_NAME_V2_BUFFER_SIZE and
# NVML_DEVICE_UUID_V2_BUFFER_SIZE (96).
TEXT = 128
# nvmlMemoryErrorType_t; nvmlEccCounterType_t.
UNCORRECTED, SINCE_LOAD, IN_ALL = 1, 0, 1


class NvmlError(Exception):
    """A call failed; the message has its name and what NVML says about it."""


class Memory(ctypes.Structure):
    """nvmlMemory_t, in bytes."""

    _fields_ = [("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong)]


class Place(ctypes.Structure):
    """nvmlPciInfo_t, third version."""

    _fields_ = [
        ("legacy", ctypes.c_char * 16),
        *((name, ctypes.c_uint) for name in ("domain", "bus", "device", "kind", "subsystem")),
        ("location", ctypes.c_char * 32),
    ]


@dataclass(frozen=True)
class Device:
    """A GPU.

    Attributes:
        location: its place on the PCI bus.
        memory: in bytes.
    """

    index: int
    name: str
    uuid: str
    location: str
    memory: int


@dataclass(frozen=True)
class Errors:
    """Errors of a GPU's memory that could not be corrected.

    Attributes:
        since_load: since the driver was loaded.
        in_all: in the card's life.
    """

    since_load: int
    in_all: int


class Nvml:
    """The library, for as long as the block is.

    Args:
        library: loaded by ctypes.

    Raises:
        NvmlError: on entering, when the driver does not answer or is of another version; from every method.
    """

    def __init__(self, library: Any) -> None:
        self._library = library
        self._library.nvmlErrorString.restype = ctypes.c_char_p

    @classmethod
    def load(cls) -> Self:
        """The library of this machine.

        Raises:
            OSError: there is none.
        """
        return cls(ctypes.CDLL(LIBRARY))

    def __enter__(self) -> Self:
        self._call("nvmlInit_v2")
        return self

    def __exit__(self, *_: object) -> None:
        self._library.nvmlShutdown()

    def driver_version(self) -> str:
        """Version of the user space."""
        return self._text("nvmlSystemGetDriverVersion")

    def count(self) -> int:
        """How many GPUs the driver has."""
        return self._number(ctypes.c_uint, "nvmlDeviceGetCount_v2")

    def device(self, index: int) -> Device:
        """A GPU; they are counted by their places on the PCI bus."""
        handle = self._handle(index)
        memory, place = Memory(), Place()
        self._call("nvmlDeviceGetMemoryInfo", handle, ctypes.byref(memory))
        self._call("nvmlDeviceGetPciInfo_v3", handle, ctypes.byref(place))
        name, uuid = (self._text(call, handle) for call in ("nvmlDeviceGetName", "nvmlDeviceGetUUID"))
        return Device(index, name, uuid, place.location.decode("ascii", "replace"), memory.total)

    def uncorrected(self, index: int) -> Errors | None:
        """Errors of a GPU's memory; None when it does not count them, as without ECC."""
        handle = self._handle(index)
        try:
            return Errors(*(self._errors(handle, counter) for counter in (SINCE_LOAD, IN_ALL)))
        except NvmlError as error:
            if error.args[1:] == (NOT_SUPPORTED,):
                return None
            raise

    def _errors(self, handle: ctypes.c_void_p, counter: int) -> int:
        return self._number(ctypes.c_ulonglong, "nvmlDeviceGetTotalEccErrors", handle, UNCORRECTED, counter)

    def _handle(self, index: int) -> ctypes.c_void_p:
        handle = ctypes.c_void_p()
        self._call("nvmlDeviceGetHandleByIndex_v2", index, ctypes.byref(handle))
        return handle

    def _number(self, kind: Any, call: str, *arguments: Any) -> int:
        number = kind()
        self._call(call, *arguments, ctypes.byref(number))
        return int(number.value)

    def _text(self, call: str, *arguments: Any) -> str:
        text = ctypes.create_string_buffer(TEXT)
        self._call(call, *arguments, text, TEXT)
        return text.value.decode("utf-8", "replace")

    def _call(self, name: str, *arguments: Any) -> None:
        if code := getattr(self._library, name)(*arguments):
            raise NvmlError(f"{name}: {self._library.nvmlErrorString(code).decode('ascii', 'replace')}", code)
