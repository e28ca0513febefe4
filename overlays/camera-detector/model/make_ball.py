"""Writes tree/usr/share/lichen/models/ball.onnx: a network that finds bright discs. Its weights are known, not learned.

Run it where the package onnx is, from anywhere. It is what the service looks with until it is given another network,
and it makes the whole way from the camera to boxes testable: where the disc of the test picture is, is known.
"""

from pathlib import Path

import numpy as np
import onnx
import onnx.checker
import onnx.numpy_helper
import onnx.parser

TARGET = Path(__file__).resolve().parents[1] / "tree/usr/share/lichen/models/ball.onnx"
WIDTH, HEIGHT = 320, 240
RADIUS = 20  # pixels; that of videotestsrc's ball
CELL = 4  # pixels; the picture is looked at in cells of this size
REACH = 6  # cells from the middle of the weights to their edge: the disc and the ring around it

# Every cell's answer is the mean brightness of the disc around it less that of the ring around the disc: 1 for a white
# disc on black, 0 for a plain surface of any brightness. Of the 32 best cells those that are not part of a better one's
# disc remain. Names and shapes of input and outputs are those of torchvision's detectors.
GRAPH = f"""
<ir_version: 8, opset_import: ["" : 17], producer_name: "lichen">
ball (float[1, 3, {HEIGHT}, {WIDTH}] frame)
    => (float[found, 4] boxes, int64[found] labels, float[found] scores)
<int64[1] flat = {{-1}}, int64[1] best = {{32}}, int64 columns = {{{WIDTH // CELL}}}, float half = {{0.5}},
 float cell = {{{CELL}.0}}, float radius = {{{RADIUS}.0}}, float zero = {{0.0}}, float one = {{1.0}},
 int64[1] first = {{0}}, int64[2] edges = {{0, 1}}, int64[1] last = {{1}}, int64[1] most = {{8}},
 float[1] overlap = {{0.2}}, float[1] lowest = {{0.3}}, int64 which = {{2}}, int64 none = {{0}}>
{{
    grey = ReduceMean<axes = [1]>(frame)
    cells = AveragePool<kernel_shape = [{CELL}, {CELL}], strides = [{CELL}, {CELL}]>(grey)
    answer = Conv<pads = [{REACH}, {REACH}, {REACH}, {REACH}]>(cells, weights)
    clipped = Clip(answer, zero, one)
    all = Reshape(clipped, flat)
    score, place = TopK(all, best)
    row = Div(place, columns)
    column = Mod(place, columns)
    across = Cast<to = 1>(column)
    down = Cast<to = 1>(row)
    x_cells = Add(across, half)
    y_cells = Add(down, half)
    x = Mul(x_cells, cell)
    y = Mul(y_cells, cell)
    left = Sub(x, radius)
    top = Sub(y, radius)
    right = Add(x, radius)
    bottom = Add(y, radius)
    left_column = Unsqueeze(left, last)
    top_column = Unsqueeze(top, last)
    right_column = Unsqueeze(right, last)
    bottom_column = Unsqueeze(bottom, last)
    candidates = Concat<axis = 1>(left_column, top_column, right_column, bottom_column)
    candidate_batch = Unsqueeze(candidates, first)
    score_batch = Unsqueeze(score, edges)
    chosen = NonMaxSuppression(candidate_batch, score_batch, most, overlap, lowest)
    kept = Gather<axis = 1>(chosen, which)
    boxes = Gather(candidates, kept)
    scores = Gather(score, kept)
    labels = Mul(kept, none)
}}
"""


def weights() -> np.ndarray:
    """The kernel of the convolution: positive on the disc, negative on the ring, each with the sum 1."""
    y, x = np.mgrid[-REACH : REACH + 1, -REACH : REACH + 1]
    distance = np.hypot(x, y)
    disc = distance <= RADIUS / CELL - 0.5
    ring = (distance > RADIUS / CELL + 0.5) & (distance <= REACH + 0.5)
    return (disc / disc.sum() - ring / ring.sum()).astype(np.float32)[None, None]


def model() -> onnx.ModelProto:
    """The whole network, checked."""
    made = onnx.parser.parse_model(GRAPH)
    made.graph.initializer.append(onnx.numpy_helper.from_array(weights(), "weights"))
    onnx.checker.check_model(made, full_check=True)
    return made


if __name__ == "__main__":
    TARGET.write_bytes(model().SerializeToString(deterministic=True))
