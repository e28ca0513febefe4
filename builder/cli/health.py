"""``lichen doctor``: which machine is looked at, and how the findings read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

from builder.data.profile import Architecture
from builder.data.toolchain import BUILD_ARCHITECTURE
from builder.foundation.errors import LichenError
from builder.foundation.toolbox import Toolbox
from builder.foundation.workbench import Workbench
from builder.steps.mirrors import debian_mirrors
from builder.steps.profiles import load_buildable, profile_names
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
        toolboxes=_toolboxes(bench),
        mirrors=mirrors,
        architectures=_architectures(bench),
        runner=bench.runner,
    )


def _architectures(bench: Workbench) -> tuple[Architecture, ...]:
    """Those that some profile is for, this machine's first."""
    found: set[Architecture] = {BUILD_ARCHITECTURE}
    for name in profile_names(bench.project):
        with contextlib.suppress(LichenError):
            found.update(load_buildable(bench.project, name).profile.architectures)
    return tuple(sorted(found, key=lambda name: (name != BUILD_ARCHITECTURE, name)))


def _toolboxes(bench: Workbench) -> Mapping[Architecture, Toolbox]:
    """For each architecture the tools tree of any profile; none before the first build."""
    found: dict[Architecture, Toolbox] = {}
    for name in profile_names(bench.project):
        with contextlib.suppress(LichenError):
            for architecture in load_buildable(bench.project, name).profile.architectures:
                found.setdefault(architecture, find_toolbox(bench, name, architecture))
    return found


def rows(findings: Iterable[Finding]) -> Iterator[tuple[str, str, str, str]]:
    """Lines of the table."""
    for item in findings:
        yield MARKS[item.ok], item.name, item.found, item.remedy
