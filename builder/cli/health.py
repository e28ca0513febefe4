"""``lichen doctor``: which machine is looked at, and how the findings read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

from builder.foundation.errors import LichenError
from builder.foundation.toolbox import Toolbox
from builder.foundation.workbench import Workbench
from builder.steps.mirrors import debian_mirrors
from builder.steps.profiles import profile_names
from builder.verbs.build import find_toolbox
from builder.verbs.doctor import Finding, Host

MARKS = {True: "ok", None: "could be better", False: "missing"}


def host(bench: Workbench) -> Host:
    """The machine we run on, as far as Lichen uses it."""
    mirrors: Mapping[str, Sequence[str]] = {}
    with contextlib.suppress(LichenError):
        # No mirror at all is a finding like any other.
        mirrors = debian_mirrors(bench.runner, bench.mirrors)
    return Host(
        cache=bench.cache.root,
        output=bench.project.images,
        toolbox=_toolbox(bench),
        mirrors=mirrors,
        runner=bench.runner,
    )


def _toolbox(bench: Workbench) -> Toolbox | None:
    """The tools tree of any profile; None before the first build."""
    for name in profile_names(bench.project):
        with contextlib.suppress(LichenError):
            return find_toolbox(bench, name)
    return None


def rows(findings: Iterable[Finding]) -> Iterator[tuple[str, str, str, str]]:
    """Lines of the table."""
    for item in findings:
        yield MARKS[item.ok], item.name, item.found, item.remedy
