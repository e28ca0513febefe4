"""The plan: which components an image needs, under which keys, and why one must be built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator

from builder.data.model import Frozen, Sha256, _tuple
from builder.foundation.digest import digest_value


class Component(Frozen):
    """Something built once and kept under its key.

    Attributes:
        inputs: name of each input and its digest (or short text); the key is the digest of these and ``name``.
        needs: names of the components that it is made from; what is kept needs none of them.
        cached: whether a complete result is kept already.
        stale: what moved since the newest kept result, one line each; empty when cached or never built.
    """

    name: str
    inputs: dict[str, str]
    needs: Annotated[tuple[str, ...], BeforeValidator(_tuple)] = ()
    cached: bool = False
    stale: tuple[str, ...] = ()

    @property
    def key(self) -> Sha256:
        """The identity of the result."""
        return component_key(self.name, self.inputs)


def component_key(name: str, inputs: Mapping[str, str]) -> Sha256:
    """Digest of a component's canonical inputs."""
    return digest_value({"component": name, "inputs": dict(inputs)})


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

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``: the model with each component's key."""
        document = self.model_dump(mode="json")
        for entry, component in zip(document["components"], self.components, strict=True):
            entry["key"] = component.key
        return document
