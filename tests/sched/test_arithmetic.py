"""The programs' arithmetic, compiled for the host, gives the integers of the agent's."""

from __future__ import annotations

import ctypes
import math
import random

import pytest
from lichen_sched import layout
from lichen_sched.layout import pack_trees

from tests.sched.native import arithmetic, grown
from tests.sched.reference import evaluate, exp2


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    return arithmetic(tmp_path_factory.mktemp("native"))


def values() -> list[int]:
    """Around each power of two, and anywhere."""
    chance = random.Random(7)
    around = [max(0, (1 << exponent) + step) for exponent in range(64) for step in (-2, -1, 0, 1, 2)]
    return [value for value in around if value < 1 << 64] + [
        chance.getrandbits(chance.randint(1, 64)) for _ in range(20000)
    ]


def test_log2(native: ctypes.CDLL) -> None:
    for value in values():
        assert native.log_2(value) == layout.log2(value), value


def test_log2_is_the_logarithm_rounded_down() -> None:
    for value in values():
        exact = math.log2(value) * 256 if value else 0
        assert exact - 1.001 < layout.log2(value) <= exact + 0.001, value


def test_exp2(native: ctypes.CDLL) -> None:
    for logarithm in range(47 * 256):
        assert native.exp_2(logarithm) == exp2(logarithm)
        assert exp2(logarithm) == pytest.approx(2 ** (logarithm / 256), rel=0.001, abs=1)


def test_average_rounds_down_also_below_zero(native: ctypes.CDLL) -> None:
    chance = random.Random(8)
    for _ in range(20000):
        old, new = chance.randint(-(1 << 20), 1 << 20), chance.randint(-(1 << 20), 1 << 20)
        assert native.average(old, new) == layout.ewma(old, new)
    assert layout.ewma(0, -1) == -1


def test_bounds(native: ctypes.CDLL) -> None:
    for logarithm in (-(1 << 31), -1, 0, 2559, 2560, 5000, 8704, 8705, (1 << 31) - 1):
        assert native.bounded(logarithm) == layout.clamp(logarithm)
        assert layout.LEAST <= layout.clamp(logarithm) <= layout.MOST


def test_buckets(native: ctypes.CDLL) -> None:
    # What the kernel may say of a delay ends at 146 years.
    for value in (value >> 2 for value in values()):
        assert native.bucket(value) == layout.bucket(value), value


def test_buckets_begin_where_they_say(native: ctypes.CDLL) -> None:
    starts = [layout.bucket_start_ns(number) for number in range(layout.BUCKETS)]
    # Below four microseconds quarters are no whole microseconds, but all are whole nanoseconds.
    assert starts[:9] == [0, 1250, 1500, 1750, 2000, 2500, 3000, 3500, 4000]
    for number, start in enumerate(starts):
        assert native.bucket(start) == number
        assert number == 0 or native.bucket(start - 1) == number - 1


def test_trees(native: ctypes.CDLL) -> None:
    chance = random.Random(9)
    for _ in range(500):
        # Of a small range thresholds are met exactly.
        most = chance.choice([3, 9000])
        tree = grown([chance.randint(-most, most) for _ in range(22)])
        (packed,) = pack_trees([tree])
        features = [chance.randint(-most, most) for _ in range(layout.FEATURES)]
        room = (ctypes.c_int32 * 16)(*features)
        assert layout.clamp(5000 + native.leaf(packed, room)) == evaluate([tree], 5000, features)


def test_tree_with_a_circle_ends(native: ctypes.CDLL) -> None:
    node = layout.Node(0, 3, 0, 0, 0, False)
    assert native.leaf(pack_trees([[node]])[0], (ctypes.c_int32 * 16)()) == 3
