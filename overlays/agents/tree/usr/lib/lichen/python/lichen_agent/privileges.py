"""What the process may do, given up as soon as it is not needed any more."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Collection
from typing import Literal

Capability = Literal["CAP_DAC_READ_SEARCH", "CAP_SYS_PTRACE", "CAP_PERFMON", "CAP_BPF"]
NUMBERS: dict[str, int] = {"CAP_DAC_READ_SEARCH": 2, "CAP_SYS_PTRACE": 19, "CAP_PERFMON": 38, "CAP_BPF": 39}
_VERSION_3 = 0x20080522
_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_DUMPABLE = 4


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def keep_only(capabilities: Collection[Capability]) -> None:
    """Give up all capabilities but these, for this process and for whatever it starts; nothing brings them back.

    Only threads started afterwards are held to it as well: call it before starting any.

    Raises:
        OSError: the kernel refused.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    # Its memory is nobody's business, not even that of a process of the same user.
    _check(libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0))
    mask = sum(1 << NUMBERS[name] for name in capabilities)
    halves = [mask & 0xFFFFFFFF, mask >> 32]
    # What is ambient goes with what is inheritable.
    data = (_Data * 2)(*(_Data(half, half, 0) for half in halves))
    _check(libc.capset(ctypes.byref(_Header(_VERSION_3, 0)), data))


def held() -> int:
    """The capabilities in effect, as a bit mask."""
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1], 16) for line in status if line.startswith("CapEff"))


def _check(result: int) -> None:
    if result:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
