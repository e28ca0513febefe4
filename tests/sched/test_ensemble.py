"""Trees in fixed point: the same as scikit-learn's within rounding, the same as the kernel's to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from lichen_sched.ensemble import NODE, Ensemble, EnsembleError, ensemble_of, exported
from lichen_sched.layout import DEPTH, FEATURES, LEAST, MOST, NODES, TREES
from lichen_sched.layout import NODE as PACKED
from lichen_sched.samples import logarithms

from tests.sched.making import made_samples
from tests.sched.reference import evaluate

ensemble_module = pytest.importorskip("sklearn.ensemble")


@pytest.fixture(scope="module")
def fitted() -> object:
    samples = made_samples(3000)
    model = ensemble_module.GradientBoostingRegressor(
        loss="absolute_error", n_estimators=TREES, max_depth=DEPTH, learning_rate=0.2, random_state=0
    )
    return model.fit(samples["features"], logarithms(samples["burst"]) / 256)


def test_exported_is_scikit_learns_within_rounding(fitted: object) -> None:
    features = made_samples(2000, seed=1)["features"]
    theirs = fitted.predict(features) * 256  # type: ignore[attr-defined]
    ours = exported(fitted).predict(features)
    # Half a step for each leaf and the base.
    assert np.abs(ours - np.clip(theirs, LEAST, MOST)).max() <= (TREES + 1) / 2
    assert np.abs(ours - theirs).mean() < 4


def test_python_walks_as_the_kernel_does(fitted: object) -> None:
    ensemble = exported(fitted)
    features = made_samples(300, seed=2)["features"]
    one_by_one = [evaluate(ensemble.trees(), ensemble.base, row.tolist()) for row in features]
    assert ensemble.predict(features).tolist() == one_by_one


def test_nodes_are_the_kernels_to_the_byte(fitted: object) -> None:
    ensemble = exported(fitted)
    packed = b"".join(PACKED.pack(*node) for tree in ensemble.trees() for node in tree)
    assert packed == ensemble.nodes.tobytes()


def test_threshold_between_integers_is_rounded_down() -> None:
    """Also below zero, where rounding towards zero would send -1 the wrong way."""
    features = np.tile(np.array([[-2], [-1], [0], [1]], np.int32), (50, FEATURES))
    model = ensemble_module.GradientBoostingRegressor(n_estimators=1, max_depth=2, learning_rate=1.0)
    model.fit(features, features[:, 0] + 15.0)
    assert exported(model).predict(features[:4]).tolist() == [13 * 256, 14 * 256, 15 * 256, 16 * 256]


def test_too_large_is_refused() -> None:
    samples = made_samples(2000)
    model = ensemble_module.GradientBoostingRegressor(n_estimators=1, max_depth=DEPTH + 1)
    model.fit(samples["features"], np.random.default_rng(0).normal(15, 3, 2000))
    with pytest.raises(EnsembleError, match="deeper than 5"):
        exported(model)


def grown(depth: int = DEPTH) -> np.ndarray:
    """One full tree."""
    nodes = np.zeros((1, NODES), NODE)
    nodes["leaf"] = 1
    for number in range(2**depth - 1):
        nodes[0, number] = (0, 0, number % FEATURES, 2 * number + 1, 2 * number + 2, 0)
    return nodes


def test_full_tree_is_taken() -> None:
    assert isinstance(ensemble_of(grown(), 20 * 256), Ensemble)


@pytest.mark.parametrize(
    ("field", "number", "value", "why"),
    [
        ("left", 3, 64, "out of its tree"),
        ("left", 3, 0, "more than 5 steps"),
        ("leaf", 40, 0, "more than 5 steps"),
        ("feature", 2, FEATURES, "none of the 12"),
        ("value", 40, 1 << 20, "no logarithm"),
        ("value", 40, -(1 << 31), "no logarithm"),
    ],
)
def test_tree_that_would_lead_the_kernel_astray_is_refused(field: str, number: int, value: int, why: str) -> None:
    nodes = grown()
    nodes[field][0, number] = value
    with pytest.raises(EnsembleError, match=why):
        ensemble_of(nodes, 20 * 256)


@pytest.mark.parametrize("base", [-1, 64 * 256])
def test_base_is_a_logarithm(base: int) -> None:
    with pytest.raises(EnsembleError, match="base"):
        ensemble_of(grown(), base)


def test_shape_is_seen() -> None:
    for nodes in (grown()[:, :10], np.repeat(grown(), TREES + 1, axis=0), grown()[:0], np.zeros((1, NODES))):
        with pytest.raises(EnsembleError, match="1 to 32 trees of 64 nodes"):
            ensemble_of(nodes, 20 * 256)


@given(some.binary(min_size=NODES * NODE.itemsize, max_size=NODES * NODE.itemsize))
def test_garbage_is_refused_or_walks_to_an_end(data: bytes) -> None:
    nodes = np.frombuffer(data, NODE).reshape(1, NODES).copy()
    nodes["feature"] %= FEATURES
    nodes["value"] %= 256
    nodes["leaf"] %= 2
    try:
        ensemble = ensemble_of(nodes, 20 * 256)
    except EnsembleError:
        return
    features = np.zeros((1, FEATURES), np.int32)
    assert ensemble.predict(features).tolist() == [evaluate(ensemble.trees(), ensemble.base, features[0].tolist())]
