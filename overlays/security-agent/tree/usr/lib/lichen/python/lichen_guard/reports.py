"""What the agent says of itself, and how it words what the model found."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from lichen_agent.escape import escape

from .alert import Alert, Priority
from .anomaly import Finding

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def of_agent(rule: str, priority: Priority, text: str, time: int, **fields: str | int | float | bool | None) -> Alert:
    """An alert of the agent about itself."""
    return Alert("agent", rule, priority, escape(text), time, fields)


def of_finding(finding: Finding) -> Alert:
    """An alert about a window that the model tells. Names in it come from hostile places and are escaped."""
    window = finding.window
    seconds = (window.ended - window.began) / 1e9
    reasons = ", ".join(f"{r.feature} {r.value:.2f} (usually {r.median:.2f})" for r in finding.reasons)
    new = {sort: [escape(name, 200) for name in names] for sort, names in finding.new.items() if names}
    said = "; ".join(f"new {sort}: {', '.join(names)}" for sort, names in new.items())
    unit = escape(window.unit, 256)
    text = f"{unit} did unusual things within {seconds:.0f} s: {reasons or 'no single number, their combination'}"
    fields: dict[str, str | int | float | bool | None] = {
        "unit": unit,
        "score": round(finding.score, 6),
        "threshold": round(finding.threshold, 6),
        "events": window.events,
        "seconds": round(seconds, 3),
    }
    fields |= {f"fall.{reason.feature}": round(reason.fall, 6) for reason in finding.reasons}
    fields |= {f"value.{reason.feature}": round(reason.value, 4) for reason in finding.reasons}
    fields |= {f"usual.{reason.feature}": round(reason.median, 4) for reason in finding.reasons}
    fields |= {f"new.{sort}": ", ".join(names) for sort, names in new.items()}
    return Alert(
        "anomaly", "Unusual behaviour", Priority.WARNING, f"{text}; {said}" if said else text, window.ended, fields
    )


class Losses:
    """Turns the sensor's growing counts of lost events into alerts, no more often than it is asked."""

    def __init__(self) -> None:
        self.total: dict[str, int] = {}

    def report(self, lost: Mapping[str, int], time: int) -> Alert | None:
        """An alert about what was lost since the last time, None when nothing was."""
        more = {kind: count - self.total.get(kind, 0) for kind, count in lost.items()}
        self.total = dict(lost)
        if not any(more.values()):
            return None
        said = ", ".join(f"{count} {kind}" for kind, count in more.items() if count)
        text = f"events were lost since they came faster than they could be judged: {said}"
        return of_agent("Events lost", Priority.ERROR, text, time, count=sum(more.values()))


class Mark:
    """A file that is there while the sensor is attached, by which the next start sees how the last one ended."""

    def __init__(self, path: Path, boot_id: Path = BOOT_ID) -> None:
        self._path, self._boot = path, boot_id.read_text(encoding="ascii").strip()

    def find(self, time: int) -> Alert | None:
        """An alert when the mark of an earlier run is still there."""
        try:
            boot = self._path.read_text(encoding="ascii", errors="replace").strip()
        except OSError:
            return None
        if boot == self._boot:
            text = "the agent had ended without saying so, killed or hung; nothing was seen until now"
            return of_agent("Sensor was detached", Priority.CRITICAL, text, time)
        text = "the machine went down without the agent being stopped"
        return of_agent("Unclean end", Priority.NOTICE, text, time)

    def set(self) -> None:
        """Leave the mark.

        Raises:
            OSError: the folder is missing or full.
        """
        self._path.write_text(self._boot, encoding="ascii")

    def clear(self) -> None:
        """Take it away: the end is told."""
        with contextlib.suppress(OSError):
            self._path.unlink()


def problems_text(problems: Sequence[object], most: int = 5) -> str:
    """Some faults of rule files in one line, and how many more there are."""
    told = "; ".join(escape(str(problem), 500) for problem in problems[:most])
    return told + (f"; and {len(problems) - most} more" if len(problems) > most else "")
