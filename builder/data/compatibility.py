"""The rules of what must fit together in one image: ``compatibility.yaml``, each with its source."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Annotated

from packaging.version import Version
from pydantic import AfterValidator, Field

from builder.data.model import Frozen, Strings
from builder.data.profile import Architecture, Board
from builder.data.yamlfile import read_yaml

RULES = Path(__file__).with_name("compatibility.yaml")


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return text


Patterns = Annotated[Strings, AfterValidator(lambda items: tuple(map(_pattern, items)))]
Numbers = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)*$")]


class Driver(Frozen):
    """Names of the packages that make up a driver, by what they are."""

    module: Patterns
    firmware: Patterns
    user_space: Patterns
    source: str


class CompiledModules(Frozen):
    """Names of packages whose modules were compiled for the kernel in the group ``release``."""

    names: Patterns
    source: str


class KernelRange(Frozen):
    """The kernels that the modules of a package compile for, from one Debian version of it on."""

    packages: Strings
    since: str
    oldest: Numbers
    newest: Numbers
    source: str

    def covers(self, kernel: str) -> bool:
        """Whether a kernel such as ``6.12.118`` is among them, whatever its patch level."""
        series = Version(".".join(kernel.split(".")[:2]))
        return Version(self.oldest) <= series <= Version(self.newest)


class Cuda(Frozen):
    """The oldest driver that a major version of CUDA runs on."""

    major: int
    driver: Numbers
    source: str


class CudaWheels(Frozen):
    """Wheels that come with one CUDA; ``{cuda}`` in a name stands for its major version."""

    named: Strings
    versioned: Strings
    runtime: Strings

    def major(self, name: str, version: str) -> int | None:
        """The major version of the CUDA that a wheel belongs to, None when it tells none.

        ``torch 2.11.0+cu128`` says it in its local version: 12.
        """
        for template in self.named:
            if match := re.fullmatch(template.replace("{cuda}", "([0-9]+)"), name):
                return int(match[1])
        if name in self.versioned:
            return Version(version).major
        local = re.fullmatch(r"cu([0-9]+)[0-9]", Version(version).local or "")
        return int(local[1]) if local else None

    def minor(self, name: str, version: str) -> str | None:
        """``12.8`` for a CUDA runtime and for what has ``+cu128`` in its version; None when a wheel does not tell."""
        parsed = Version(version)
        if any(re.fullmatch(template.replace("{cuda}", "[0-9]+"), name) for template in self.runtime):
            return f"{parsed.major}.{parsed.minor}"
        local = re.fullmatch(r"cu([0-9]+)([0-9])", parsed.local or "")
        return f"{local[1]}.{local[2]}" if local else None

    def refuse(self, newer: Iterable[int]) -> tuple[str, ...]:
        """Constraints for uv under which no wheel of these major versions of CUDA can be chosen."""
        majors = sorted(newer)
        if not majors:
            return ()
        by_name = [f"{name.format(cuda=major)}<0" for name in self.named for major in majors]
        return (*by_name, *(f"{name}<{majors[0]}" for name in self.versioned))


class BoardRule(Frozen):
    """A machine: its GPU's compute capability, and whether CUDA wheels that were made for Arm servers run on it."""

    title: str
    architecture: Architecture
    capability: Numbers
    server_wheels: bool
    source: str


class GpuCode(Frozen):
    """The compute capabilities that the releases of one distribution have code for."""

    wheel: str
    releases: str
    architecture: Architecture
    cuda: Numbers
    capabilities: Strings
    source: str


class Rules(Frozen):
    """All of ``compatibility.yaml``."""

    driver: Driver
    compiled_modules: CompiledModules
    kernels: tuple[KernelRange, ...]
    cuda: tuple[Cuda, ...]
    cuda_wheels: CudaWheels
    boards: dict[Board, BoardRule]
    gpu_code: tuple[GpuCode, ...]

    def newest_cuda(self, driver: str) -> Cuda | None:
        """The newest CUDA that runs on a driver such as ``550.163.01``; None when it is older than all rules."""
        fitting = [rule for rule in self.cuda if Version(rule.driver) <= Version(driver)]
        return max(fitting, key=lambda rule: rule.major, default=None)


@cache
def rules() -> Rules:
    """The rules that come with Lichen."""
    value = read_yaml(RULES).value
    # Lists become tuples here as in every other model.
    lists = {key: tuple(value[key]) for key in ("kernels", "cuda", "gpu_code")}
    return Rules.model_validate({**value, **lists})
