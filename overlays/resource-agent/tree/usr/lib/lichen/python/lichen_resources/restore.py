"""Gives back the static values when the agent is gone: after every end of the service, by ``lichen-resources off``."""

from __future__ import annotations

import sys

from lichen_agent.escape import escape

from .audit import AuditLog
from .record import Record
from .settings import LOG, RECORD


def restore(actor: str, reason: str) -> int:
    """Give back what is still overridden; tells it to the log.

    Returns:
        how many values there were.

    Raises:
        OSError: the record cannot be written.
    """
    record = Record(RECORD)
    kept = dict(record.kept)
    failed = record.give_back_all()
    # Its bounds are the agent's to keep; a handful of lines more does not matter.
    log = AuditLog(LOG, 1 << 30, 1)
    for (name, knob), value in kept.items():
        why = failed.get((name, knob), "")
        told = f"{reason}; {why}" if why else reason
        row = {"unit": name, "knob": knob, "from": "?", "to": value.text, "actor": actor, "reason": told}
        try:
            log.tell(row)
        except OSError as error:
            print(f"<3>log: {error}; {escape(name)} {knob} is {value.text} again: {escape(told)}", file=sys.stderr)
    return len(kept)


def main() -> None:
    """After the service's end, whatever it was. After an orderly one nothing is left to do."""
    try:
        count = restore("after the end", "the agent ended without giving it back")
    except OSError as error:
        sys.exit(
            f"<2>static values could not be given back: {error}; `systemctl daemon-reload` after removing the files "
            "below /run/systemd/system.control that set CPUWeight, IOWeight or MemoryHigh does it"
        )
    if count:
        print(f"<4>the agent ended without giving {count} values back; they are static again", file=sys.stderr)


if __name__ == "__main__":
    main()
