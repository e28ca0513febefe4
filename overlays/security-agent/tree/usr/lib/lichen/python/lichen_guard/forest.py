"""An isolation forest: learned by scikit-learn, kept as plain arrays, scored with numpy alone.

scikit-learn takes 100 MB of memory and its own way of saving is pickle, which runs whatever a forged file says. So a
child process learns (:mod:`lichen_guard.learner`), and the agent holds five arrays. Scores equal scikit-learn's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

TREES = 128
# Windows per tree; the paper's 256 and its depth bound of log2 of that.
SAMPLES = 256
ARRAYS = ("left", "right", "feature", "threshold", "depth")


class ForestError(ValueError):
    """The arrays are no forest; the message says why."""


@dataclass(frozen=True)
class Forest:
    """Trees side by side, each array of shape trees x nodes.

    Attributes:
        left, right: number of the child node; of a leaf, its own.
        feature, threshold: of the split; values up to the threshold go left.
        depth: what reaching a leaf counts: steps from the root, plus what isolating the windows in it would take.
        normal: depth that an average window has.
    """

    left: np.ndarray
    right: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    depth: np.ndarray
    normal: float

    def scores(self, values: np.ndarray) -> np.ndarray:
        """Between 0 and 1 for each row of numbers; the higher, the easier it is told from all others."""
        values = np.asarray(values, np.float32)
        trees = np.arange(len(self.left))
        rows = np.arange(len(values))[:, None]
        node = np.zeros((len(values), len(trees)), np.intp)
        while True:
            goes_left = values[rows, self.feature[trees, node]] <= self.threshold[trees, node]
            following = np.where(goes_left, self.left[trees, node], self.right[trees, node])
            if (following == node).all():
                return 2.0 ** -(self.depth[trees, node].sum(axis=1) / (len(trees) * self.normal))
            node = following

    def arrays(self) -> Mapping[str, np.ndarray]:
        """What :func:`forest_of` takes."""
        return {name: getattr(self, name) for name in ARRAYS} | {"normal": np.float64(self.normal)}


def forest_of(arrays: Mapping[str, np.ndarray], features: int) -> Forest:
    """Make a forest of saved arrays, having seen that walking it ends and leaves neither the trees nor the features.

    Raises:
        ForestError: something is missing or does not fit.
    """
    try:
        left, right, feature = (arrays[name].astype(np.intp, casting="same_kind") for name in ARRAYS[:3])
        threshold, depth = (arrays[name].astype(np.float64, casting="safe") for name in ARRAYS[3:])
        normal = float(arrays["normal"])
    except (KeyError, TypeError, ValueError) as error:
        raise ForestError(f"an array is missing or of another type: {error}") from error
    if left.ndim != 2 or not left.size or any(a.shape != left.shape for a in (right, feature, threshold, depth)):
        raise ForestError("the arrays have different shapes")
    nodes = np.arange(left.shape[1])
    leaf = (left == nodes) & (right == nodes)
    # Children come after their parents, as scikit-learn numbers them: no walk can go round.
    if not (leaf | ((left > nodes) & (right > nodes))).all() or max(left.max(), right.max()) >= left.shape[1]:
        raise ForestError("a tree's node leads backwards or out of the tree")
    if feature.min() < 0 or feature.max() >= features:
        raise ForestError(f"a split asks for a feature that is none of the {features}")
    if not np.isfinite(threshold).all() or not np.isfinite(depth).all() or not 0 < normal < np.inf:
        raise ForestError("a number is not finite")
    return Forest(left, right, feature, threshold, depth, normal)


def average_depth(windows: np.ndarray) -> np.ndarray:
    """Steps that isolating one of so many takes on average: a search that fails in a binary tree."""
    count = np.asarray(windows, np.float64)
    many = np.maximum(count, 3) - 1
    average = 2 * (np.log(many) + np.euler_gamma) - 2 * many / np.maximum(count, 3)
    return np.where(count <= 1, 0.0, np.where(count == 2, 1.0, average))


def grow(values: np.ndarray, seed: int = 0) -> Forest:
    """Learn a forest from rows of numbers.

    Raises:
        ImportError: scikit-learn is not here.
    """
    from sklearn.ensemble import IsolationForest

    samples = min(SAMPLES, len(values))
    fitted = IsolationForest(n_estimators=TREES, max_samples=samples, random_state=seed).fit(np.float32(values))
    return exported(fitted)


def exported(fitted: object) -> Forest:
    """The arrays of scikit-learn's fitted ``IsolationForest``."""
    trees = [tree.tree_ for tree in fitted.estimators_]
    shape = len(trees), max(tree.node_count for tree in trees)
    nodes = np.arange(shape[1])
    left, right = np.tile(nodes, (shape[0], 1)), np.tile(nodes, (shape[0], 1))
    feature, threshold, depth = np.zeros(shape, np.intp), np.zeros(shape), np.zeros(shape)
    for number, (tree, columns) in enumerate(zip(trees, fitted.estimators_features_, strict=True)):
        count = tree.node_count
        inner = tree.children_left >= 0
        left[number, :count][inner] = tree.children_left[inner]
        right[number, :count][inner] = tree.children_right[inner]
        feature[number, :count][inner] = columns[tree.feature[inner]]
        threshold[number, :count][inner] = tree.threshold[inner]
        steps = np.zeros(count)
        for node in np.flatnonzero(inner):
            steps[[tree.children_left[node], tree.children_right[node]]] = steps[node] + 1
        depth[number, :count] = steps + average_depth(tree.n_node_samples)
    return Forest(left, right, feature, threshold, depth, float(average_depth(np.array(fitted.max_samples_))))
