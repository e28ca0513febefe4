"""Records of the ring, and the memory of them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as some
from lichen_sched import layout
from lichen_sched.baselines import baselines, constant_of
from lichen_sched.samples import SAMPLE, Samples, logarithms, parse, split

from tests.sched.making import made_samples, records


def test_layout_is_the_kernels() -> None:
    """Two descriptions of one record: numpy's and struct's."""
    assert SAMPLE.itemsize == layout.SAMPLE.size
    sample = layout.Sample(1, 2, 3, 4, 5, 6, 7, 8, -9, tuple(range(-1, layout.FEATURES - 1)), "name")
    packed = layout.SAMPLE.pack(*sample[:9], *sample.features, b"name")
    (parsed,), faulty = parse([packed])
    assert faulty == 0
    assert layout.Sample(*(parsed[name] for name in SAMPLE.names[:9]), tuple(parsed["features"]), "name") == sample


def test_what_is_no_sample_is_counted() -> None:
    good = made_samples(3)
    nothing = made_samples(1)
    nothing["burst"] = 0
    parsed, faulty = parse([*records(good), b"", b"x" * 200, *records(nothing)])
    assert (len(parsed), faulty) == (3, 3)
    assert parse([])[1] == 0


def test_memory_has_a_bound_and_keeps_the_newest_densely() -> None:
    memory = Samples(1000)
    for start in range(0, 20_000, 100):
        batch = made_samples(100)
        batch["time"] = np.arange(start, start + 100)
        memory.add(batch)
        assert len(memory) <= 1000
    times = memory.ordered()["time"].astype(int)
    assert memory.seen == 20_000
    assert times[-400:].tolist() == list(range(19_600, 20_000))
    # What is long ago is remembered, thinly.
    assert times[0] < 18_000
    assert np.diff(times)[0] > 1


def test_more_than_fits_at_once() -> None:
    memory = Samples(100)
    memory.add(made_samples(1000))
    assert len(memory) == 50
    memory.add(made_samples(0))
    assert len(memory) == 50


@given(some.lists(some.integers(0, 60), max_size=30))
def test_memory_never_overflows(sizes: list[int]) -> None:
    memory = Samples(64)
    for size in sizes:
        memory.add(made_samples(size))
    assert len(memory) <= 64
    assert memory.seen == sum(sizes)


def test_order_is_that_of_time() -> None:
    samples = made_samples(100)
    memory = Samples()
    memory.add(samples[50:])
    memory.add(samples[:50])
    assert (memory.ordered()["time"] == samples["time"]).all()
    old, new = split(memory.ordered())
    assert (len(old), len(new)) == (75, 25)
    assert old["time"].max() < new["time"].min()


def test_logarithms_are_the_kernels() -> None:
    """The kernel rounds down; in between there is less than one step."""
    bursts = np.array([1, 2, 1000, 123_456_789, 1 << 40], np.uint64)
    difference = logarithms(bursts) - [layout.log2(int(burst)) for burst in bursts]
    assert (difference >= 0).all()
    assert (difference < 1).all()


def test_baselines_know_nothing_of_the_first_burst() -> None:
    features = np.zeros((3, layout.FEATURES), np.int32)
    features[1, layout.FEATURE_NAMES.index("last")] = 15 * 256
    features[1, layout.FEATURE_NAMES.index("ewma")] = 16 * 256
    features[2, layout.FEATURE_NAMES.index("last")] = 60 * 256
    found = baselines(features, 1 << 20)
    assert found["constant"].tolist() == [20 * 256] * 3
    assert found["last"].tolist() == [20 * 256, 15 * 256, layout.MOST]
    assert found["ewma"][:2].tolist() == [20 * 256, 16 * 256]


def test_constant_is_the_median() -> None:
    assert constant_of(np.array([1, 5, 1_000_000], np.uint64)) == 5
    assert constant_of(np.array([], np.uint64)) == 1_000_000
