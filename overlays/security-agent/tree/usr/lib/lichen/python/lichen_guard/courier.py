"""Takes records to one place in a thread of its own, so that a slow place holds up nobody."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from .alertrecord import Record


class DeliveryError(Exception):
    """The place did not take a record. ``final`` when trying again is no use."""

    def __init__(self, reason: str, final: bool = False) -> None:
        super().__init__(reason)
        self.final = final


class Courier:
    """A bounded queue and a thread that empties it.

    When the queue is full, what comes next is given up: the beginning of an attack says more than its hundredth event.

    Args:
        name: of the place, for metrics and status.
        deliver: takes one record there; raises :class:`DeliveryError` or OSError when it cannot.
        attempts: for each record. After a failure it waits ``pause`` seconds, then twice that, up to ``longest_pause``.
    """

    def __init__(
        self,
        name: str,
        deliver: Callable[[Record], None],
        *,
        most_waiting: int = 1000,
        attempts: int = 1,
        pause: float = 1.0,
        longest_pause: float = 60.0,
    ) -> None:
        self.name = name
        self.delivered = self.given_up = 0
        self.last_error = ""
        self._deliver, self._attempts, self._pauses = deliver, attempts, (pause, longest_pause)
        self._most_waiting = most_waiting
        self._waiting: deque[Record] = deque()
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"guard-{name}", daemon=True)
        self._thread.start()

    def send(self, record: Record) -> bool:
        """Put a record into the queue; False when it is full. Never waits."""
        with self._changed:
            if len(self._waiting) >= self._most_waiting or self._closing.is_set():
                self.given_up += 1
                return False
            self._waiting.append(record)
            self._changed.notify()
        return True

    @property
    def waiting(self) -> int:
        """Records in the queue, the one under way included."""
        return len(self._waiting)

    def close(self, patience: float) -> None:
        """Deliver what waits, once each, for at most so many seconds; the rest is given up."""
        with self._changed:
            self._closing.set()
            self._changed.notify()
        self._thread.join(patience)
        self.given_up += len(self._waiting)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closing.is_set():
                    self._changed.wait()
                if not self._waiting:
                    return
                record = self._waiting[0]
            delivered = self._bring(record)
            with self._changed:
                self._waiting.popleft()
                self.delivered += delivered
                self.given_up += not delivered

    def _bring(self, record: Record) -> bool:
        pause, longest = self._pauses
        for attempt in range(1, self._attempts + 1):
            try:
                self._deliver(record)
                return True
            except Exception as error:  # whatever it is, the next record needs this thread
                said = str(error) if isinstance(error, DeliveryError | OSError) else f"{type(error).__name__}: {error}"
                self.last_error = f"{time.strftime('%Y-%m-%d %H:%M:%S')}: {said}"
                if attempt == self._attempts or self._closing.is_set() or getattr(error, "final", False):
                    return False
            self._closing.wait(pause)
            pause = min(2 * pause, longest)
        return False
