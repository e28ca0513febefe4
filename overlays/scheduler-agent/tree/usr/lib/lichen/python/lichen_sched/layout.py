"""What the scheduler's programs and the agent tell one another: ``bpf/lichen-sched.h`` in Python, and its arithmetic.

Logarithms are of base 2, of nanoseconds, in fixed point with eight fractional bits ("Q8"). The functions here give the
same integers as those of the programs, on the same numbers.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

FRACTION = 8
TREES, DEPTH, NODES, SLOTS = 32, 5, 64, 2
BUCKETS = 96

# In the order of the kernel; the header says what each is.
FEATURE_NAMES = (
    "last",
    "before_last",
    "ewma",
    "deviation",
    "sleep",
    "sleep_ewma",
    "wakes",
    "preempted",
    "waker_ewma",
    "nice",
    "kernel_thread",
    "threads",
)
FEATURES = len(FEATURE_NAMES)

# Every prediction lies between these two, 1 us and about 17 s.
LEAST, MOST = 10 << FRACTION, 34 << FRACTION


class Predictor(IntEnum):
    """What predicts bursts; where it knows nothing of a task yet (its first burst), ``constant_ns`` counts."""

    CONSTANT = 0
    LAST = 1
    EWMA = 2
    TREES = 3
    ORACLE = 4


class Counter(IntEnum):
    """What is counted; see ``enum lichen_counter``."""

    SWITCHES = 0
    INVOLUNTARY = 1
    MIGRATIONS = 2
    WAKEUPS = 3
    DIRECT = 4
    QUEUED = 5
    KICKS = 6
    STOLEN = 7
    SAMPLES = 8
    LOST = 9
    PREDICTIONS = 10
    MISSES = 11
    LONGEST_NS = 12
    RESCUED = 13
    UNMEASURED = 14


CONTROL = struct.Struct("<II2I2iII5Q")
NODE = struct.Struct("<iiBBBB")
SAMPLE = struct.Struct(f"<5Q3Ii{FEATURES}i16s")
RECORDED = struct.Struct("<QI4x")
OWNER = struct.Struct("<QI4x")
SHARE = struct.Struct("<5QqI4x")
ENDING = struct.Struct("<Qq128s512s")


@dataclass(frozen=True)
class Control:
    """What is in force; ``struct lichen_control``. Times are nanoseconds, ``base`` is Q8."""

    predictor: Predictor = Predictor.CONSTANT
    slot: int = 0
    trees: tuple[int, int] = (0, 0)
    base: tuple[int, int] = (0, 0)
    sample_every: int = 1
    record: bool = False
    constant_ns: int = 1_000_000
    slice_min_ns: int = 1_000_000
    slice_max_ns: int = 10_000_000
    preempt_ns: int = 1_000_000
    generation: int = 0

    def pack(self) -> bytes:
        """The bytes of the map.

        Raises:
            ValueError: a number does not fit into its field.
        """
        try:
            return CONTROL.pack(
                self.predictor,
                self.slot,
                *self.trees,
                *self.base,
                self.sample_every,
                self.record,
                self.constant_ns,
                self.slice_min_ns,
                self.slice_max_ns,
                self.preempt_ns,
                self.generation,
            )
        except struct.error as error:
            raise ValueError(f"{self}: {error}") from error

    @classmethod
    def unpack(cls, data: bytes) -> Control:
        """The other way round."""
        predictor, slot, trees0, trees1, base0, base1, every, record, *times = CONTROL.unpack(data)
        return cls(Predictor(predictor), slot, (trees0, trees1), (base0, base1), every, bool(record), *times)


class Node(NamedTuple):
    """Of a tree: ``features[feature] <= threshold`` goes to node ``left`` of the same tree, otherwise to ``right``."""

    threshold: int
    value: int
    feature: int
    left: int
    right: int
    leaf: bool


Tree = Sequence[Node]


class Sample(NamedTuple):
    """A finished burst; ``struct lichen_sample``."""

    time_ns: int
    burst_ns: int
    cgroup: int
    identity: int
    generation: int
    sequence: int
    pid: int
    uid: int
    predicted: int
    features: tuple[int, ...]
    comm: str


class Owner(NamedTuple):
    """Whose share it is: the cgroup's number and the user's."""

    cgroup: int
    uid: int


class Share(NamedTuple):
    """What an owner's tasks got since the programs were loaded. ``error`` and ``bias`` are sums of Q8 logarithms."""

    ran_ns: int
    waited_ns: int
    longest_ns: int
    bursts: int
    error: int
    bias: int
    weight: int


class Ending(NamedTuple):
    """Why the kernel ended the scheduler: ``kind`` is its ``enum scx_exit_kind``."""

    kind: int
    code: int
    reason: str
    message: str


def text(data: bytes) -> str:
    """A C string."""
    return data.split(b"\0", 1)[0].decode(errors="replace")


def parse_sample(data: bytes) -> Sample:
    """A record of the ring.

    Raises:
        ValueError: it has not the length of one.
    """
    if len(data) != SAMPLE.size:
        raise ValueError(f"a sample has {SAMPLE.size} bytes, not {len(data)}")
    *numbers, comm = SAMPLE.unpack(data)
    return Sample(*numbers[:9], tuple(numbers[9:]), text(comm))


def pack_trees(trees: Sequence[Tree]) -> list[bytes]:
    """``struct lichen_tree`` of each.

    Raises:
        ValueError: there are too many, one is too large, a node leads nowhere, or a number does not fit.
    """
    if len(trees) > TREES:
        raise ValueError(f"an ensemble has at most {TREES} trees, not {len(trees)}")
    packed: list[bytes] = []
    for number, tree in enumerate(trees):
        if not 0 < len(tree) <= NODES:
            raise ValueError(f"tree {number} has {len(tree)} nodes, from 1 to {NODES} are possible")
        for node in tree:
            if not (node.leaf or (node.feature < FEATURES and max(node.left, node.right) < len(tree))):
                raise ValueError(f"tree {number} has a node that leads nowhere: {node}")
        try:
            data = b"".join(NODE.pack(*node) for node in tree)
        except struct.error as error:
            raise ValueError(f"tree {number}: {error}") from error
        packed.append(data.ljust(NODE.size * NODES, b"\0"))
    return packed


def log2(value: int) -> int:
    """Q8 logarithm, rounded down; 0 of 0."""
    if value <= 1:
        return 0
    exponent = value.bit_length() - 1
    # In 31 fractional bits, from 1 to below 2; each squaring tells the next bit of the logarithm.
    rest = value >> (exponent - 31) if exponent > 31 else value << (31 - exponent)
    result = exponent
    for _ in range(FRACTION):
        rest = rest * rest >> 31
        bit = rest >> 32
        rest >>= bit
        result = result << 1 | bit
    return result


def clamp(logarithm: int) -> int:
    """Within the bounds of predictions."""
    return max(LEAST, min(MOST, logarithm))


def ewma(average: int, new: int) -> int:
    """An average after one more, which counts a quarter."""
    return average + (new - average >> 2)


def bucket_start_ns(bucket: int) -> int:
    """From which delay on a bucket of the histogram counts; 0 for the first one."""
    exponent, quarter = divmod(bucket, 4)
    return ((4 + quarter) * 1000 << exponent) // 4 if bucket else 0


def bucket(delay_ns: int) -> int:
    """Which bucket of the histogram a delay counts in."""
    micros = delay_ns // 1000
    if micros == 0:
        return 0
    exponent = micros.bit_length() - 1
    # Quarters of what is below four microseconds are of whole nanoseconds.
    quarter = (delay_ns * 4 // 1000 >> exponent) - 4
    return min(4 * exponent + quarter, BUCKETS - 1)
