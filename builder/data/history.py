"""What earlier runs of a component left: how long they took, and which inputs each target had last.

One file for each component, one line of JSON for each target, the newest last. It outlives the component's files: why
the next one must be built, and how long that may take, is known after they were removed too.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from builder.data.model import Frozen
from builder.foundation.atomic import written_atomically

RUNS = 5  # durations kept for each target
TARGETS = 50  # lines of a file; the target whose turn was longest ago is forgotten first

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Target(Frozen):
    """What a component is built for: one image."""

    profile: str
    architecture: str


class Past(Frozen):
    """One target's runs of a component.

    Attributes:
        inputs: what the component was made from when the target last used it.
        seconds: how long the target's last runs took, oldest first; a component that was found kept took none.
    """

    target: Target
    inputs: dict[str, str]
    seconds: tuple[Seconds, ...]


class Estimate(Frozen):
    """How long a run may take.

    Attributes:
        seconds: the median of earlier runs on this machine.
        runs: how many they were.
        own: they were the target's own; otherwise those of other profiles for the same architecture.
    """

    seconds: float
    runs: int
    own: bool


def estimate(history: Sequence[Past], target: Target) -> Estimate | None:
    """The median of the target's last runs; without any, of other profiles' runs for its architecture; else None."""
    own = [seconds for past in history if past.target == target for seconds in past.seconds]
    others = [
        seconds for past in history if past.target.architecture == target.architecture for seconds in past.seconds
    ]
    known = own or others
    if not known:
        return None
    return Estimate(seconds=round(statistics.median(known), 1), runs=len(known), own=bool(own))


def last_inputs(history: Sequence[Past], target: Target) -> dict[str, str] | None:
    """The inputs that the target had last; None when it never had the component."""
    return next((past.inputs for past in history if past.target == target), None)


def with_run(
    history: Sequence[Past], target: Target, inputs: Mapping[str, str], seconds: float | None
) -> tuple[Past, ...]:
    """The history with one more run; ``seconds`` is None when the component was found kept."""
    took = [taken for past in history if past.target == target for taken in past.seconds]
    took += [] if seconds is None else [seconds]
    newest = Past(target=target, inputs=dict(inputs), seconds=tuple(took[-RUNS:]))
    return (*(past for past in history if past.target != target), newest)[-TARGETS:]


def read_history(path: Path) -> tuple[Past, ...]:
    """The history in a file; without lines that are damaged, empty when it cannot be read."""
    found = []
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return ()
    for line in lines:
        try:
            found.append(Past.model_validate_json(line))
        except ValueError:
            continue
    return tuple(found)


def add_run(path: Path, target: Target, inputs: Mapping[str, str], seconds: float | None = None) -> None:
    """Add a run to a file, which is made when absent; processes that do so at once wait for one another.

    Raises:
        LichenError: the disk is full or the folder cannot be written.
    """
    with written_atomically(path) as stream:
        # Read now: nobody else writes meanwhile.
        for past in with_run(read_history(path), target, inputs, seconds):
            stream.write(past.model_dump_json().encode() + b"\n")
