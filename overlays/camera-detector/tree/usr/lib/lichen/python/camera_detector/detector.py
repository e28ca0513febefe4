"""A trained detector, run by ONNX Runtime on the CPU."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime

from .status import Find


class ModelError(Exception):
    """The file is no detector that the service can use; the message names it and the fault."""


class Detector:
    """A model as torchvision's detectors are.

    It has one input, 1 x 3 x height x width, of red, green and blue from 0 to 1; and outputs ``boxes`` (n x 4, in
    pixels), ``scores`` (n) and perhaps ``labels`` (n).

    Raises:
        ModelError: ONNX Runtime cannot load the file, or its inputs and outputs are others.
    """

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        # Between two pictures its threads would go on running, with real-time priority to the loss of everybody else.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            with without_schema_errors():
                self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        # ONNX Runtime's own exceptions have no common base but this.
        except Exception as error:
            raise ModelError(f"{path}: {error}") from error
        inputs = self.session.get_inputs()
        shape = inputs[0].shape if inputs else []
        fixed = len(shape) == 4 and shape[:2] == [1, 3] and all(isinstance(side, int) for side in shape)
        if len(inputs) != 1 or not fixed or inputs[0].type != "tensor(float)":
            found = ", ".join(f"{item.name}: {item.type} {item.shape}" for item in inputs)
            raise ModelError(f"{path}: wanted one input of 1 x 3 x height x width floats, it has {found or 'none'}")
        names = [item.name for item in self.session.get_outputs()]
        if missing := {"boxes", "scores"} - set(names):
            raise ModelError(f"{path}: has no output {', '.join(sorted(missing))}, it has {', '.join(names)}")
        self.input = inputs[0].name
        self.outputs = [name for name in ("boxes", "scores", "labels") if name in names]
        self.height, self.width = shape[2:]

    def find(self, picture: bytes, threshold: float) -> list[Find]:
        """What is in a picture of ``height`` rows of ``width`` pixels, three bytes each (red, green, blue)."""
        pixels = np.frombuffer(picture, dtype=np.uint8).reshape(1, self.height, self.width, 3)
        tensor = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), dtype=np.float32) / np.float32(255)
        boxes, scores, *labels = self.session.run(self.outputs, {self.input: tensor})
        kinds = labels[0] if labels else np.zeros(len(scores), dtype=np.int64)
        return [
            Find(int(kind), float(score), tuple(float(side) for side in box))
            for box, score, kind in zip(boxes, scores, kinds, strict=True)
            if score >= threshold
        ]


@contextlib.contextmanager
def without_schema_errors() -> Iterator[None]:
    """Pass on what is written to standard error meanwhile, but for complaints about operators known already.

    Debian's ONNX Runtime 1.21 registers the operators of libonnx a second time when it makes its first session, and
    says so in a thousand lines.
    """
    stderr = os.dup(2)
    with os.fdopen(os.memfd_create("stderr"), "r+b") as said:
        os.dup2(said.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            said.seek(0)
            for line in said:
                if line.strip() and not line.startswith(b"Schema error: Trying to register schema"):
                    os.write(2, line)
