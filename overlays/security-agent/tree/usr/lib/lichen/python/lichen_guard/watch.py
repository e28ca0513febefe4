"""What the sensor is told: which files are of interest, and what the kernel shall refuse.

Rules decide both (:meth:`lichen_guard.rules.RuleSet.watches`, :meth:`~lichen_guard.rules.RuleSet.denials`); the sensor
lays them into BPF maps.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Literal


class Interest(enum.IntFlag):
    """Which events of a file are told; the numbers are those in ``bpf/lichen-guard.h``."""

    READ = 1  # open to read
    WRITE = 2  # open to write
    CHANGE = 4  # create, rename, link, symlink, setattr
    REMOVE = 8  # unlink, rmdir


NOTHING = Interest(0)


@dataclass(frozen=True)
class Watch:
    """Files of interest.

    Of prefixes the longest that fits a path decides. A name adds to that, when the file or its folder is called so.

    Attributes:
        place: ``prefix``: an absolute path and everything below it (``/etc`` fits ``/etc`` and ``/etc/shadow``, not
            ``/etcetera``); ``name``: a file's or its folder's own name (``id_rsa``, ``.ssh``), at most 63 bytes.
    """

    place: Literal["prefix", "name"]
    value: str
    interest: Interest


@dataclass(frozen=True)
class Denial:
    """Something that the kernel shall refuse (-EPERM), while the agent enforces.

    Attributes:
        rule: name of the rule that asks for it.
        kind: ``exec`` of a program, ``exec-in-memory`` of one that is in no folder (no paths), ``open`` (to read or
            write as ``interest`` says), ``change`` (create, rename, link, symlink, setattr), ``unlink``, ``module``
            (no paths), ``ptrace`` (no paths), ``bpf``: to open what is the sensor's own (no paths).
        paths: prefixes as in :class:`Watch`; empty for kinds without.
        except_programs: program files that may all the same, absolute paths.
    """

    rule: str
    kind: Literal["exec", "exec-in-memory", "open", "change", "unlink", "module", "ptrace", "bpf"]
    paths: tuple[str, ...] = ()
    interest: Interest = NOTHING
    except_programs: tuple[str, ...] = ()
