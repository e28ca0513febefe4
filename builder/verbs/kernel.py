"""``lichen kernel``: a profile's own kernel by itself: its final configuration, its packages, how two differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from builder.data.fragment import Setting, parse_config
from builder.data.kernel import OwnKernel
from builder.data.profile import Architecture
from builder.data.variation import USUAL, Circumstances
from builder.foundation.errors import InputError, Problem
from builder.foundation.workbench import Workbench
from builder.steps.kernels import CONFIG
from builder.steps.profiles import load_buildable, profile_names
from builder.verbs.build import provide_component


@dataclass(frozen=True)
class Symbol:
    """One symbol of a final configuration.

    Attributes:
        value: what it has in the end; ``n`` when it is off or does not exist.
        place: ``FILE:LINE`` of the fragment that asks for it; empty when the architecture's defaults or other symbols
            decided.
        wanted: what that fragment asks for.
    """

    name: str
    value: str
    place: str = ""
    wanted: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {"symbol": self.name, "value": self.value, "place": self.place or None, "wanted": self.wanted or None}


def kernel_config(workbench: Workbench, name: str, architecture: str | None = None) -> tuple[Symbol, ...]:
    """Every symbol of the final configuration of a profile's kernel, by name, and what which fragment asked for.

    Raises:
        InputError: the profile is wrong, has a kernel that Debian built, or its fragments cannot be met.
        LichenError: as :func:`builder.verbs.build.build`.
    """
    settings, final = _configured(workbench, name, architecture)
    asked = {item.symbol: item for item in settings}
    return tuple(_symbol(symbol, final, asked.get(symbol)) for symbol in sorted({*final, *asked}))


def _symbol(name: str, final: Mapping[str, str], asked: Setting | None) -> Symbol:
    value = final.get(name, "n")
    return Symbol(name, value, asked.place, asked.value) if asked else Symbol(name, value)


def kernel_packages(
    workbench: Workbench, name: str, architecture: str | None = None, circumstances: Circumstances = USUAL
) -> Path:
    """The folder with the packages of a profile's own kernel and of its drivers, built when they are not kept yet.

    Raises:
        InputError, LichenError: as :func:`kernel_config`.
    """
    wanted = _own_kernel(workbench, name, architecture)[1]
    return provide_component(workbench, name, "modules", wanted, circumstances) / "modules"


def kernel_diff(workbench: Workbench, old: str, new: str) -> dict[str, tuple[str, str]]:
    """Symbols that have different values in two configurations, by name.

    Args:
        old, new: a profile, ``PROFILE.ARCHITECTURE``, or a file with a kernel's configuration.

    Raises:
        InputError: there is nothing of that name, or as :func:`kernel_config`.
    """
    one, other = (_final(workbench, given) for given in (old, new))
    found = {name: (one.get(name, "n"), other.get(name, "n")) for name in sorted({*one, *other})}
    return {name: values for name, values in found.items() if values[0] != values[1]}


def _final(workbench: Workbench, given: str) -> Mapping[str, str]:
    name, _, architecture = given.partition(".")
    if name in profile_names(workbench.project) and architecture in ("", *get_args(Architecture)):
        return _configured(workbench, name, architecture or None)[1]
    try:
        final = parse_config(Path(given).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        remedy = "name a profile, PROFILE.ARCHITECTURE, or a file such as /boot/config-…"
        raise InputError(
            Problem(f"there is no kernel configuration called {given!r}", given, str(error), remedy)
        ) from None
    if not final:
        raise InputError(Problem("this is no configuration of a kernel", given, "no line sets a CONFIG_ symbol"))
    return final


def _configured(
    workbench: Workbench, name: str, architecture: str | None
) -> tuple[tuple[Setting, ...], Mapping[str, str]]:
    kernel, wanted = _own_kernel(workbench, name, architecture)
    folder = provide_component(workbench, name, "kernel-config", wanted) / "kernel-config"
    return kernel.settings(wanted), parse_config((folder / CONFIG).read_text(encoding="utf-8"))


def _own_kernel(workbench: Workbench, name: str, architecture: str | None) -> tuple[OwnKernel, Architecture]:
    recipe = load_buildable(workbench.project, name)
    wanted = recipe.require_architecture(architecture)
    if not recipe.kernel:
        why = f"{recipe.profile.kernel.built_by_debian(wanted)} is built already"
        remedy = "name a `source` in the profile's `kernel`"
        raise InputError(Problem("this profile has no kernel of its own", name, why, remedy))
    return recipe.kernel, wanted
