"""Rendering: facts -> one HTML page that needs nothing else.

Names of packages and files come from strangers. Jinja2 escapes everything; data for the script goes through
``tojson``, which escapes ``<``; and the page's own policy lets only its own script and style run, by their digests,
and lets nothing be fetched or sent.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from datetime import UTC, datetime
from importlib import resources

import jinja2

from builder.data.testresults import Boot
from builder.data.verification import Verification
from builder.steps.report.gather import Facts
from builder.steps.report.sizes import KINDS

OWNERS_SHOWN = 15
UNITS_SHOWN = 30
TEXT_SHOWN = 600  # characters of a failed test's text or of a difference; the whole lies in its file
DIFFERENCES_SHOWN = 50  # of one rebuild


def page(facts: Facts) -> str:
    """The whole page, in ASCII: the same bytes in every locale."""
    folder = resources.files("builder") / "templates" / "report"
    style, script = ((folder / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    template = environment.from_string((folder / "report.html.j2").read_text(encoding="utf-8"))
    text = template.render(
        facts=facts,
        policy=f"default-src 'none'; style-src {_allowed(style)}; script-src {_allowed(script)}; base-uri 'none'; "
        "form-action 'none'",
        style=style,
        script=script,
        date=datetime.fromtimestamp(facts.manifest.source_date_epoch, UTC),
        outcomes=Counter(test.outcome for test in facts.tests or ()),
        kinds=KINDS,
        counts=Counter(item.kind for item in facts.bill),
        phases=_phases(facts.boot),
        slowest=_slowest(facts.boot),
        owners=facts.sizes.owners[:OWNERS_SHOWN] if facts.sizes else (),
        compared=_compared(facts.verification),
        text_shown=TEXT_SHOWN,
        differences_shown=DIFFERENCES_SHOWN,
    )
    return text.encode("ascii", "xmlcharrefreplace").decode("ascii")


def _allowed(source: str) -> str:
    """The policy's word for exactly this script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"


def _phases(boot: Boot | None) -> list[tuple[str, float, float]]:
    """Name, begin and duration in seconds of each part of the boot, firmware first."""
    phases: list[tuple[str, float, float]] = []
    begin = 0.0
    for name in ("firmware", "loader", "kernel", "initrd", "userspace"):
        took = getattr(boot, name, None)
        if took is not None:
            phases.append((name, begin, took))
            begin += took
    return phases


def _slowest(boot: Boot | None) -> list[tuple[str, float, float]]:
    """Name, begin and duration of the units that took longest, in the order of their begin."""
    units = sorted(boot.units if boot else (), key=lambda unit: (-unit.seconds, unit.start, unit.name))
    shown = [(unit.name, unit.start, unit.seconds) for unit in units[:UNITS_SHOWN] if unit.seconds > 0]
    return sorted(shown, key=lambda unit: (unit[1], unit[0]))


def _compared(verification: Verification | None) -> list[tuple[str, int, int, str | None]]:
    """Each artefact or part: in how many rebuilds it was identical, of how many, and the first image's digest."""
    found: dict[str, list[bool]] = {}
    digests: dict[str, str | None] = {}
    for rebuild in verification.rebuilds if verification else ():
        for item in rebuild.compared:
            found.setdefault(item.name, []).append(item.identical)
            digests[item.name] = item.first
    return [(name, sum(same), len(same), digests[name]) for name, same in found.items()]
