"""Cgroups: from the kernel's number to path, systemd's unit and container."""

from __future__ import annotations

import ctypes
import os
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

_UNIT = re.compile(r"_?([^/]+\.(?:service|scope|socket|mount|swap|automount|timer|path|device|target))")
# podman, docker, containerd, cri-o; by themselves or through systemd. conmon only watches the container.
_CONTAINER = re.compile(r"(?:(?!.*conmon)[A-Za-z][A-Za-z0-9_-]*-)?([0-9a-f]{64})(?:\.scope)?")
_FILEID_KERNFS = 0xFE


class Place(NamedTuple):
    """Where a process belongs; each "" when there is none or it is unknown.

    Attributes:
        container_of_root: there is a container, and nobody but root can have made its cgroup. A subtree that is
            delegated to a user (user@N.service) holds whatever that user calls a container.
    """

    cgroup: str = ""
    unit: str = ""
    container: str = ""
    container_of_root: bool = False


class _Handle(ctypes.Structure):
    _fields_ = (("bytes", ctypes.c_uint32), ("type", ctypes.c_int32), ("identifier", ctypes.c_uint64))


class Cgroups:
    """Answers from memory where it can.

    Args:
        root: where the unified hierarchy is mounted; None: as /proc/self/mountinfo says.
        limit: how many are remembered.
    """

    def __init__(self, root: Path | None = None, *, limit: int = 8192) -> None:
        self._places: OrderedDict[int, Place] = OrderedDict()
        self._limit = limit
        self._libc = ctypes.CDLL(None, use_errno=True)
        root = root or mounted()
        self._root = str(root) if root else ""
        self._folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) if root else -1

    def find(self, identifier: int) -> Place:
        """Of the cgroup with this number; that of a vanished or unreachable one is empty."""
        place = self._places.get(identifier)
        if place is None:
            path = self._path(identifier)
            place = Place(path, unit(path), container(path), container_of_root(path, self._owner))
            self._places[identifier] = place
            if len(self._places) > self._limit:
                self._places.popitem(last=False)
        return place

    def close(self) -> None:
        """Lets go of the hierarchy; nothing is found any more but what is remembered."""
        if self._folder >= 0:
            os.close(self._folder)
            self._folder = -1

    def _owner(self, path: str) -> int:
        return os.stat(path.lstrip("/") or ".", dir_fd=self._folder).st_uid

    def _path(self, identifier: int) -> str:
        # The number is the whole of the file's handle: no folder has to be searched (needs CAP_DAC_READ_SEARCH).
        if self._folder < 0:
            return ""
        handle = _Handle(8, _FILEID_KERNFS, identifier)
        opened = self._libc.open_by_handle_at(self._folder, ctypes.byref(handle), os.O_PATH | os.O_CLOEXEC)
        if opened < 0:
            return ""
        try:
            path = os.readlink(f"/proc/self/fd/{opened}")
        except OSError:
            return ""
        finally:
            os.close(opened)
        if path != self._root and not path.startswith(self._root.rstrip("/") + "/"):
            return ""
        return path[len(self._root.rstrip("/")) :] or "/"


def mounted() -> Path | None:
    """Where the unified hierarchy is mounted; None when it is not."""
    for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
        before, _, after = line.partition(b" - ")
        if after.split()[:1] == [b"cgroup2"]:
            return Path(os.fsdecode(before.split()[4]))
    return None


def unit(path: str) -> str:
    """The system manager's unit that a cgroup belongs to, as ``systemctl status PID`` says."""
    for component in path.strip("/").split("/"):
        if not component.endswith(".slice"):
            match = _UNIT.fullmatch(component)
            return match[1] if match else ""
    return ""


def container(path: str) -> str:
    """Identifier of the outermost container that a cgroup belongs to, whoever made it."""
    return _container(path)[0]


def container_of_root(path: str, owner: Callable[[str], int]) -> bool:
    """Whether a cgroup belongs to a container that nobody but root can have made: all folders above it are root's.

    Args:
        owner: who a cgroup's folder belongs to; raises OSError when there is no such folder any more. It counts as
            somebody else's then.
    """
    identifier, folder = _container(path)
    try:
        return bool(identifier) and all(owner(above) == 0 for above in _folders(folder))
    except OSError:
        return False


def _container(path: str) -> tuple[str, str]:
    """Of the outermost container of a cgroup: its identifier, and the folder that it lies in."""
    folder = ""
    for component in path.strip("/").split("/"):
        if match := _CONTAINER.fullmatch(component):
            return match[1], folder or "/"
        folder += f"/{component}"
    return "", ""


def _folders(folder: str) -> Iterator[str]:
    """A folder and all above it."""
    while folder != "/":
        yield folder
        folder = os.path.dirname(folder)
    yield folder
