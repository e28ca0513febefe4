"""The plan: which components an image needs, under which keys, and why one must be built."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator

from builder.data.history import Estimate
from builder.data.model import Frozen, Sha256, _tuple
from builder.foundation.digest import digest_value


class MovedInput(Frozen):
    """An input that is another one now; ``old`` is None when it is new, ``new`` when it is gone."""

    input: str
    old: str | None
    new: str | None

    def text(self, title: str) -> str:
        """For people; ``title`` is what the input is called. Of a digest the beginning is told."""
        if self.old is None:
            return f"{title} is new"
        if self.new is None:
            return f"{title} is gone"
        return f"{title}: {self.old[:12]} -> {self.new[:12]}"


def moved_inputs(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[MovedInput, ...]:
    """What differs between two components' inputs, by name."""
    return tuple(
        MovedInput(input=name, old=old.get(name), new=new.get(name))
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    )


class Component(Frozen):
    """Something built once and kept under its key.

    Attributes:
        inputs: name of each input and its digest (or short text); the key is the digest of these and ``name``.
        needs: names of the components that it is made from; what is kept needs none of them.
        cached: whether a complete result is kept already.
        moved: the inputs that differ from those of the newest one that this image had.
        stale: why it must be built, for people, one line each; empty when cached.
        estimate: how long building may take; None when cached, or when no earlier run tells.
    """

    name: str
    inputs: dict[str, str]
    needs: Annotated[tuple[str, ...], BeforeValidator(_tuple)] = ()
    cached: bool = False
    moved: tuple[MovedInput, ...] = ()
    stale: tuple[str, ...] = ()
    estimate: Estimate | None = None

    @property
    def key(self) -> Sha256:
        """The identity of the result."""
        return component_key(self.name, self.inputs)


def component_key(name: str, inputs: Mapping[str, str]) -> Sha256:
    """Digest of a component's canonical inputs."""
    return digest_value({"component": name, "inputs": dict(inputs)})


def missing(components: Sequence[Component], goal: str, kept: Callable[[Component], bool]) -> list[str]:
    """What must be made for the component ``goal``, itself included, in build order; what is kept needs nothing."""
    wanted = {goal}
    for component in reversed(components):
        if component.name in wanted and not kept(component):
            wanted.update(component.needs)
    return [item.name for item in components if item.name in wanted and not kept(item)]


class Expected(Frozen):
    """How long a build may take, downloads aside, in seconds; what no earlier run tells about counts nothing.

    Attributes:
        together: parts that do not need one another are built at the same time: the longest chain.
        alone: one part after another.
        unknown: parts without an earlier run.
    """

    together: float
    alone: float
    unknown: tuple[str, ...]


class Plan(Frozen):
    """All components of one image in build order; the last one is the image itself."""

    profile: str
    architecture: str
    lock: Sha256
    components: tuple[Component, ...]

    def component(self, name: str) -> Component:
        """The component called ``name``.

        Raises:
            KeyError: there is none.
        """
        for component in self.components:
            if component.name == name:
                return component
        raise KeyError(name)

    @property
    def to_build(self) -> tuple[Component, ...]:
        """What the image still needs, in build order; compilers of a kernel that is kept are not among it."""
        names = missing(self.components, self.components[-1].name, lambda item: item.cached)
        return tuple(item for item in self.components if item.name in names)

    @property
    def expected(self) -> Expected:
        """How long it may take to build what is to be built."""
        ends: dict[str, float] = {}
        for item in self.to_build:
            begin = max((ends.get(name, 0.0) for name in item.needs), default=0.0)
            ends[item.name] = begin + (item.estimate.seconds if item.estimate else 0.0)
        return Expected(
            together=round(max(ends.values(), default=0.0), 1),
            alone=round(sum(item.estimate.seconds for item in self.to_build if item.estimate), 1),
            unknown=tuple(item.name for item in self.to_build if not item.estimate),
        )

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``: the model with each component's key and whether it is to be built, and what is expected."""
        document = {**self.model_dump(mode="json"), "expected": self.expected.model_dump(mode="json")}
        needed = {component.name for component in self.to_build}
        for entry, component in zip(document["components"], self.components, strict=True):
            entry |= {"key": component.key, "to_build": component.name in needed}
        return document
