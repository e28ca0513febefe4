"""Who each process acts as, and whether what was told explains how it came to be root."""

from __future__ import annotations

from collections import OrderedDict

from .record import Record

ROOT = 0
# Execs whose rights were told before the exec itself; one that fails in between is never heard of again.
MOST_PENDING = 1024


class Credentials:
    """The user of each process, and rights that the exec to come brings.

    Threads may each act as somebody else, so only the first of a process is followed. Who is not known yet is taken as
    he comes.

    Args:
        limit: how many processes are followed; those of which nothing was heard the longest are forgotten.
    """

    def __init__(self, limit: int = 65536) -> None:
        self._limit = limit
        self._users: OrderedDict[int, tuple[int, int]] = OrderedDict()
        self._rights: OrderedDict[int, Record] = OrderedDict()

    def follow(self, record: Record) -> int | None:
        """Takes a record in; the user that a process was that is root now, when nothing told how it became so."""
        if record.lent or record.thread != record.pid:
            return None
        pid, started, user = record.pid, record.started, record.uid
        if record.kind == "fork":
            pid, low, high = record.numbers[:3]
            started = low | high << 32
        elif record.kind in ("setuid", "rights"):
            # It is told before it happens.
            user = record.numbers[1]
        known, before = self._users.get(pid, (started, ROOT))
        self._users[record.pid] = record.started, user
        self._users.move_to_end(record.pid)
        if len(self._users) > self._limit:
            self._users.popitem(last=False)
        return before if record.uid == ROOT and before != ROOT and known == started else None

    def forget(self) -> None:
        """Of nobody it is known any more: something was not told."""
        self._users.clear()

    def granted(self, record: Record) -> None:
        """The exec that follows brings these rights."""
        self._rights[record.pid] = record
        if len(self._rights) > MOST_PENDING:
            self._rights.popitem(last=False)

    def brought(self, record: Record) -> Record | None:
        """What this exec brought; None when the process keeps the rights that it had."""
        rights = self._rights.pop(record.pid, None)
        return rights if rights and rights.started == record.started else None
