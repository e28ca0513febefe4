"""dpkg's control files: stanzas of fields."""

from __future__ import annotations

from collections.abc import Iterator


def stanzas(text: str) -> Iterator[dict[str, str]]:
    """The fields of each stanza, the first line of each field."""
    for stanza in text.split("\n\n"):
        yield dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line and line[0] != " ")


def installed(status: str) -> dict[str, tuple[str, str]]:
    """Name of every installed package in dpkg's database with its version and architecture."""
    return {
        fields["Package"]: (fields["Version"], fields["Architecture"])
        for fields in stanzas(status)
        if fields.get("Status") == "install ok installed"
    }
