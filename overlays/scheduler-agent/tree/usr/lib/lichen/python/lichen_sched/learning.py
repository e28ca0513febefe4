"""Runs :mod:`lichen_sched.learner` beside the agent, and takes what it learned."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
from lichen_agent.apart import Apart, ApartError

from .ensemble import Ensemble
from .learner import ORDER
from .model import SEAL, Model, ModelError, model_of

LEARNER = (sys.executable, "-m", "lichen_sched.learner")


class Learning:
    """One learner at work.

    Args:
        samples: in the order of time.
        before: the ensemble in force, to be compared with.
        command: the learner; it reads an order and writes a model.

    Raises:
        ModelError: it could not be started.
    """

    def __init__(
        self, samples: np.ndarray, before: Ensemble | None, seed: int, command: Sequence[str] = LEARNER
    ) -> None:
        # Only what is learned from: the rest would take the agent's time to pack.
        order = {"features": samples["features"], "bursts": samples["burst"], "seed": np.int64(seed)}
        if before:
            order |= {"nodes": before.nodes, "base": np.int64(before.base)}
        try:
            self._apart = Apart(command, ORDER, order, SEAL)
        except ApartError as error:
            raise ModelError(str(error)) from error

    def result(self) -> Model | None:
        """The model, or None while it is being learned; never waits.

        Raises:
            ModelError: there will be none; the message says why.
        """
        try:
            arrays = self._apart.result()
        except ApartError as error:
            raise ModelError(str(error)) from error
        return None if arrays is None else model_of(arrays)

    def stop(self) -> None:
        """End it; it leaves nothing behind."""
        self._apart.stop()
