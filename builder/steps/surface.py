"""What decides who may do what on an image: units that start, files that lend rights, open ports."""

from __future__ import annotations

import re
from collections.abc import Iterable

from builder.data.contents import FileEntry
from builder.data.testresults import Port

_SUFFIXES = (".service", ".socket", ".target", ".timer", ".mount", ".automount", ".path", ".slice", ".swap")
_UNIT = re.compile(r"/(?P<place>etc|usr/lib)/systemd/(?P<manager>system|user)/(?:(?P<parent>[^/]+)/)?(?P<name>[^/]+)")
_PULLS = (".wants", ".requires", ".upholds")
_LENT = 0o6000  # set-user-ID and set-group-ID


def units(entries: Iterable[FileEntry]) -> dict[str, str]:
    """Every systemd unit of the image and its state: ``enabled``, ``masked`` or ``disabled``.

    Enabled is what another unit pulls in, by a package's own link or the administrator's, and what the administrator
    gave an alias. Units of users' managers are called ``user/NAME``.
    """
    states: dict[str, str] = {}
    for entry in entries:
        found = _UNIT.fullmatch(entry.path)
        if not found or not entry.path.endswith(_SUFFIXES):
            continue
        prefix, parent = "" if found["manager"] == "system" else "user/", found["parent"]
        if entry.kind == "link" and entry.link == "/dev/null" and not parent:
            states[prefix + found["name"]] = "masked"
        elif entry.kind == "link" and parent and parent.endswith(_PULLS):
            # Called as the link: several instances of a template may be pulled in.
            _enable(states, prefix + found["name"])
        elif entry.kind == "link" and entry.link and found["place"] == "etc" and not parent:
            _enable(states, prefix + entry.link.rpartition("/")[2])
        elif entry.kind == "file" and not parent:
            states.setdefault(prefix + found["name"], "disabled")
    return states


def _enable(states: dict[str, str], unit: str) -> None:
    if states.get(unit) != "masked":
        states[unit] = "enabled"


def services(old: Iterable[FileEntry], new: Iterable[FileEntry]) -> tuple[dict[str, str], dict[str, str]]:
    """States of both sides' units, without those that start on neither side."""
    before, after = units(old), units(new)
    kept = {name for states in (before, after) for name, state in states.items() if state != "disabled"}
    left, right = ({name: state for name, state in states.items() if name in kept} for states in (before, after))
    return left, right


def privileged(entries: Iterable[FileEntry]) -> dict[str, str]:
    """Path of every set-user-ID or set-group-ID file with its mode, user, group and who brought it."""
    return {
        entry.path: f"{entry.mode:04o} {entry.uid}:{entry.gid} {entry.owner}"
        for entry in entries
        if entry.kind == "file" and entry.mode & _LENT
    }


def listeners(ports: Iterable[Port]) -> dict[str, str]:
    """Every open port, as ``tcp 0.0.0.0:22``, and who listens there."""
    return {f"{port.protocol} {port.address}:{port.port}": port.process or "the kernel" for port in ports}
