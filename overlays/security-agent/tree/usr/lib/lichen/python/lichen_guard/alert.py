"""An alert: what a rule or the model found."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


class Priority(enum.IntEnum):
    """As Falco names them; the numbers are syslog's, the lower the worse."""

    EMERGENCY = 0
    ALERT = 1
    CRITICAL = 2
    ERROR = 3
    WARNING = 4
    NOTICE = 5
    INFORMATIONAL = 6
    DEBUG = 7


@dataclass(frozen=True)
class Alert:
    """What is told to people and machines.

    Attributes:
        source: ``rules``, ``anomaly``, or ``agent`` for what the agent says of itself (started, detached, events lost).
        time: of the event, nanoseconds since boot (CLOCK_BOOTTIME).
        text: the rule's output with its fields filled in; hostile bytes are escaped already.
        fields: names and values that the text was made from, ``proc.name`` and so on; escaped as well.
        denied: the kernel refused it.
    """

    source: Literal["rules", "anomaly", "agent"]
    rule: str
    priority: Priority
    text: str
    time: int
    fields: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    denied: bool = False
