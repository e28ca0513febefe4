"""A process that learns and ends: rows of features come in, a model goes out."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np
from lichen_agent.apart import work

from .model import SEAL, ModelError, learn

ORDER = "lichen-guard-order-1"


def task(order: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """Learn.

    Raises:
        ModelError: it cannot be done from these rows.
    """
    return learn(order["rows"], float(order["rate"]), time.time(), int(order["seed"])).arrays()


if __name__ == "__main__":
    work(ORDER, SEAL, task, ModelError)
