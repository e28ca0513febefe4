"""Gradient-boosted trees in the fixed point that the kernel walks: made by scikit-learn, kept as nodes of integers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .layout import DEPTH, FEATURES, FRACTION, LEAST, MOST, NODES, TREES, Node, Tree

# struct lichen_node of bpf/lichen-sched.h.
NODE = np.dtype(
    [("threshold", "<i4"), ("value", "<i4"), ("feature", "u1"), ("left", "u1"), ("right", "u1"), ("leaf", "u1")]
)
# Logarithms of 64 bits of nanoseconds are below this. The sum of 32 leaves and a base stays within 32 bits.
LARGEST = 64 << FRACTION


class EnsembleError(ValueError):
    """The nodes are no ensemble; the message says why."""


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Trees and what their leaves are added to.

    Attributes:
        nodes: of shape trees x 64, of the type :data:`NODE`.
        base: logarithm in fixed point.
    """

    nodes: np.ndarray
    base: int

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Of each row of features, the logarithm that the kernel computes, bit by bit."""
        trees, rows = np.arange(len(self.nodes)), np.arange(len(features))[:, None]
        at = np.zeros((len(features), len(trees)), np.intp)
        for _ in range(DEPTH):
            node = self.nodes[trees, at]
            left = features[rows, node["feature"]] <= node["threshold"]
            at = np.where(node["leaf"] == 1, at, np.where(left, node["left"], node["right"]))
        return np.clip(self.base + self.nodes[trees, at]["value"].sum(axis=1, dtype=np.int64), LEAST, MOST)

    def trees(self) -> list[Tree]:
        """For the kernel."""
        return [[Node(*map(int, node)) for node in row.tolist()] for row in self.nodes]


def ensemble_of(nodes: np.ndarray, base: int) -> Ensemble:
    """Make an ensemble of saved nodes, having seen that every walk ends at a leaf of the same tree.

    Raises:
        EnsembleError: they are of another shape, or a walk would not end there.
    """
    if nodes.dtype != NODE or nodes.ndim != 2 or nodes.shape[1] != NODES or not 1 <= len(nodes) <= TREES:
        raise EnsembleError(f"is to be 1 to {TREES} trees of {NODES} nodes each, not {nodes.dtype} of {nodes.shape}")
    if not 0 <= base < LARGEST or np.abs(nodes["value"].astype(np.int64)).max() >= LARGEST:
        raise EnsembleError("the base or the value of a leaf is no logarithm of a burst")
    if nodes["feature"].max() >= FEATURES:
        raise EnsembleError(f"a node asks for a feature that is none of the {FEATURES}")
    reached = np.zeros(nodes.shape, bool)
    reached[:, 0] = True
    for step in range(DEPTH + 1):
        tree, number = np.nonzero(reached & (nodes["leaf"] == 0))
        children = np.stack([nodes["left"][tree, number], nodes["right"][tree, number]])
        if step == DEPTH and len(tree):
            raise EnsembleError(f"a walk has more than {DEPTH} steps")
        if (children >= NODES).any():
            raise EnsembleError("a node leads out of its tree")
        reached[:] = False
        reached[tree, children[0]] = reached[tree, children[1]] = True
    return Ensemble(nodes, base)


def exported(fitted: object) -> Ensemble:
    """Fixed point of scikit-learn's fitted ``GradientBoostingRegressor``, which learned logarithms of base 2.

    Features are integers, so ``x <= 4.5`` and ``x <= 4`` are the same. Leaves are rounded: each adds an error of up to
    half of 1/256, and so does the base.

    Raises:
        EnsembleError: it has more or deeper trees than the kernel takes.
    """
    trees = [row[0].tree_ for row in fitted.estimators_]
    if len(trees) > TREES or any(tree.max_depth > DEPTH or tree.node_count > NODES for tree in trees):
        raise EnsembleError(f"more than {TREES} trees, or a tree deeper than {DEPTH}")
    nodes = np.zeros((len(trees), NODES), NODE)
    nodes["leaf"] = 1
    for row, tree in zip(nodes, trees, strict=True):
        for number in range(tree.node_count):
            if tree.children_left[number] < 0:
                row[number]["value"] = _fixed(fitted.learning_rate * tree.value[number].item())
                continue
            threshold = min(max(math.floor(tree.threshold[number]), -(1 << 31)), (1 << 31) - 1)
            children = tree.children_left[number], tree.children_right[number]
            row[number] = (threshold, 0, tree.feature[number], *children, 0)
    return ensemble_of(nodes, _fixed(float(fitted.init_.constant_.item())))


def _fixed(logarithm: float) -> int:
    return round(logarithm * (1 << FRACTION))
