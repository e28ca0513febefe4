"""An alert as it leaves the agent: one form for the log file, the webhook and the journal."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lichen_agent.escape import escape

from .alert import Alert

MOST_FIELDS = 64
LONGEST = 4096  # characters of one field; together with the number of fields this bounds a record
_NO_JOURNAL_NAME = re.compile("[^A-Z0-9_]")


@dataclass(frozen=True)
class Record:
    """An alert with its number and the time on the wall.

    Attributes:
        number: counts up over restarts; ``lichen-guard explain NUMBER`` finds it.
        time: of the event, seconds since 1970.
    """

    number: int
    time: float
    alert: Alert

    def to_json(self) -> Mapping[str, Any]:
        """What goes into the log file and to the webhook. Escaped already or not, all text is escaped afterwards."""
        alert = self.alert
        moment = datetime.datetime.fromtimestamp(self.time, datetime.UTC)
        return {
            "number": self.number,
            "time": moment.isoformat(timespec="microseconds"),
            "source": alert.source,
            "rule": escape(alert.rule, 256),
            "priority": alert.priority.name.lower(),
            "text": escape(alert.text, LONGEST),
            "fields": {escape(name, 64): _plain(value) for name, value in list(alert.fields.items())[:MOST_FIELDS]},
            "tags": [escape(tag, 64) for tag in alert.tags[:MOST_FIELDS]],
            "denied": alert.denied,
        }

    def to_journal(self) -> Mapping[str, str]:
        """Fields for the journal: ``LICHEN_RULE``, ``LICHEN_PROC_NAME`` for ``proc.name``, and so on."""
        told = self.to_json()
        fields = {
            f"LICHEN_{_NO_JOURNAL_NAME.sub('_', name.upper())[:57]}": str(value)
            for name, value in told["fields"].items()
            if value is not None
        }
        return fields | {
            "MESSAGE": f"{told['rule']}: {told['text']}",
            "PRIORITY": str(int(self.alert.priority)),
            "SYSLOG_IDENTIFIER": "lichen-guard",
            "LICHEN_NUMBER": str(self.number),
            "LICHEN_RULE": told["rule"],
            "LICHEN_SOURCE": self.alert.source,
            "LICHEN_TAGS": " ".join(told["tags"]),
            "LICHEN_DENIED": str(int(self.alert.denied)),
        }


def _plain(value: object) -> object:
    return escape(value, LONGEST) if isinstance(value, str) else value
