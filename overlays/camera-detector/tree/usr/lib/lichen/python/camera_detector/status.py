"""What the service saw last, as a file that anybody on the machine may read."""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Find:
    """One thing found in a picture.

    Attributes:
        label: number of its class.
        score: how sure the detector is, 0 to 1.
        box: left, top, right, bottom, in pixels of the picture as the detector gets it.
    """

    label: int
    score: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Status:
    """The last picture and what was in it.

    Attributes:
        source: a device file, or ``test``.
        size: width and height in pixels, which the finds' boxes are in.
        picture: its number since the source was opened.
        time: when it was looked at, in seconds since 1970.
        latency: seconds from its being taken to now.
        looked_at: pictures since the service started.
    """

    source: str
    model: str
    size: tuple[int, int]
    picture: int
    time: float
    latency: float
    looked_at: int
    finds: Sequence[Find]


def write_status(path: Path, status: Status) -> None:
    """Readers get this one or the one before, never half of it."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(asdict(status)), encoding="utf-8")
    os.replace(new, path)


def status_text(told: dict[str, object], now: float | None = None) -> str:
    """What is in the file, for people."""
    age = (time.time() if now is None else now) - told["time"]
    source = "the test picture" if told["source"] == "test" else told["source"]
    lines = [
        f"{told['model']} looks at {source}",
        f"{told['looked_at']} pictures looked at, the last one {age:.1f} s ago",
        f"{told['latency'] * 1000:.0f} ms from its being taken to what is in it being known",
    ]
    for find in told["finds"]:
        box = " ".join(f"{side:.0f}" for side in find["box"])
        lines.append(f"class {find['label']} at {box}, score {find['score']:.2f}")
    return "\n".join([*lines, *(["nothing found"] if not told["finds"] else [])])
