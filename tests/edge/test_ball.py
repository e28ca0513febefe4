"""The network that ships with the camera detector: what it finds in pictures whose content is known."""

from __future__ import annotations

from collections.abc import Sequence

import make_ball
import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

Place = tuple[float, float]
WIDTH, HEIGHT, RADIUS = make_ball.WIDTH, make_ball.HEIGHT, make_ball.RADIUS


def picture(*discs: Place, radius: float = RADIUS, background: float = 0.0) -> npt.NDArray[np.float32]:
    """White discs on a plain ground, as the network wants its input."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    grey = np.full((HEIGHT, WIDTH), background, np.float32)
    for across, down in discs:
        grey[np.hypot(x + 0.5 - across, y + 0.5 - down) <= radius] = 1
    return np.broadcast_to(grey, (1, 3, HEIGHT, WIDTH)).copy()


@pytest.fixture(scope="module")
def network() -> ReferenceEvaluator:
    return ReferenceEvaluator(onnx.load(make_ball.TARGET))


def find(network: ReferenceEvaluator, frame: npt.NDArray[np.float32]) -> list[tuple[float, Sequence[float]]]:
    boxes, labels, scores = (np.asarray(output) for output in network.run(None, {"frame": frame}))
    assert len(boxes) == len(labels) == len(scores)
    return [(float(score), box) for box, score in zip(boxes.tolist(), scores, strict=True) if score >= 0.5]


def test_file_is_what_its_script_makes() -> None:
    assert onnx.load(make_ball.TARGET) == make_ball.model(), "run overlays/camera-detector/model/make_ball.py"


@pytest.mark.parametrize("place", [(160.0, 120.0), (20.0, 20.0), (300.0, 220.0), (101.3, 57.8), (20.0, 131.0)])
def test_disc_is_found_where_it_is(network: ReferenceEvaluator, place: Place) -> None:
    ((score, box),) = find(network, picture(place))
    assert score > 0.8
    x, y = place
    assert box == pytest.approx([x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS], abs=make_ball.CELL)


def test_each_of_several_discs_is_found_once(network: ReferenceEvaluator) -> None:
    places = [(60.0, 60.0), (160.0, 180.0), (250.0, 90.0)]
    found = sorted((box[0] + RADIUS, box[1] + RADIUS) for _, box in find(network, picture(*places)))
    assert found == [pytest.approx(place, abs=make_ball.CELL) for place in places]


@pytest.mark.parametrize(
    "frame",
    [
        picture(),
        picture(background=1.0),
        picture(background=0.5),
        picture((160.0, 120.0), radius=RADIUS / 3),
        picture((160.0, 120.0), radius=RADIUS * 4),
        picture((160.0, 120.0), background=0.7),
    ],
    ids=["black", "white", "grey", "dot", "large disc", "faint disc"],
)
def test_what_is_no_disc_is_not_found(network: ReferenceEvaluator, frame: npt.NDArray[np.float32]) -> None:
    assert find(network, frame) == []
