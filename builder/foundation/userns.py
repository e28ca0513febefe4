"""A command in a user namespace of its own that has every user of this machine, run as a program by itself.

util-linux maps more than one user with the help of newuidmap(1) only, which a bare machine has not; root needs no
help. As a program this is ``python -I userns.py COMMAND...``: it becomes the command, so whoever started it waits for
the command and ends it.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence
from pathlib import Path

CLONE_NEWUSER = 0x10000000
_MAP = """
read -r _
echo 0 0 4294967295 > "/proc/$1/gid_map" && echo 0 0 4294967295 > "/proc/$1/uid_map"
"""
# Gives a user namespace program handlers of its own (Linux 6.7, Documentation/admin-guide/binfmt-misc.rst), then runs
# the command. Arguments: a folder to make, where they are mounted; the rule; the command. Mounted elsewhere than below
# /proc/sys, where systemd has an automount that hangs in a mount namespace of one's own.
_REGISTER = """
set -eu
mkdir "$1"
mount -t binfmt_misc binfmt_misc "$1"
printf %s "$2" > "$1/register"
shift 2
exec "$@"
"""


def entered(command: Sequence[str]) -> list[str]:
    """``command``, to be started by root, in a user namespace of its own."""
    return [sys.executable, "-I", str(Path(__file__)), *command]


def handled(rule: str, folder: Path, command: Sequence[str]) -> list[str]:
    """``command`` with a handler for programs, to be started in a user and a mount namespace of its own.

    Args:
        rule: a line for the ``register`` file of binfmt_misc.
        folder: there is none yet; the handlers are mounted there.
    """
    return ["sh", "-c", _REGISTER, "lichen", str(folder), rule, *command]


def become(command: list[str]) -> None:
    """Enter the namespace, map all users to themselves, and become ``command``.

    Raises:
        OSError: the kernel refuses, or there is no such program.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    reader, writer = os.pipe()
    words = ["sh", "-c", _MAP, "lichen", str(os.getpid())]
    # Stays outside, where it may map, and waits there until we are inside.
    mapper = os.posix_spawn("/bin/sh", words, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, reader, 0)])
    refused = libc.unshare(CLONE_NEWUSER) != 0
    number = ctypes.get_errno()
    os.close(writer)
    _, status = os.waitpid(mapper, 0)
    if refused:
        raise OSError(number, f"no user namespace: {os.strerror(number)}")
    if status != 0:
        raise PermissionError("the users of a new user namespace cannot be mapped: root alone may")
    os.execvp(command[0], command)  # noqa: S606 (becoming the command is the point)


if __name__ == "__main__":
    become(sys.argv[1:])
