"""Bursts that the kernel told: the records of the ring, and a memory of them that has a bound."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .layout import FEATURES, FRACTION

# struct lichen_sample of bpf/lichen-sched.h.
SAMPLE = np.dtype(
    [
        ("time", "<u8"),
        ("burst", "<u8"),
        ("cgroup", "<u8"),
        ("identity", "<u8"),
        ("generation", "<u8"),
        ("sequence", "<u4"),
        ("pid", "<u4"),
        ("uid", "<u4"),
        ("predicted", "<i4"),
        ("features", "<i4", (FEATURES,)),
        ("comm", "S16"),
    ]
)
MOST = 65536  # 8 MiB
# Of the samples in the order of time, the newest part, which no model that is tried on it has seen.
HELD_OUT = 0.25


def parse(records: Sequence[bytes]) -> tuple[np.ndarray, int]:
    """Samples of records, and how many records were none: of another size, or of a burst of no time."""
    whole = [record for record in records if len(record) == SAMPLE.itemsize]
    samples = np.frombuffer(b"".join(whole), SAMPLE)
    sound = samples["burst"] > 0
    return samples[sound], len(records) - int(sound.sum())


def logarithms(bursts: np.ndarray) -> np.ndarray:
    """Base 2, of nanoseconds, in fixed point: what is predicted."""
    return np.log2(bursts.astype(np.float64)) * (1 << FRACTION)


def split(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """To learn from, and to try on: the older and the newer part of samples in the order of time."""
    border = len(samples) - round(len(samples) * HELD_OUT)
    return samples[:border], samples[border:]


class Samples:
    """The memory. When it is full, every other one of its older half goes: what is long ago is remembered thinly.

    Args:
        most: samples to keep.

    Attributes:
        seen: samples so far, forgotten ones included.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._kept = np.empty(most, SAMPLE)
        self._count = 0
        self.seen = 0

    def __len__(self) -> int:
        return self._count

    def add(self, samples: np.ndarray) -> None:
        """Take samples in. Of more than fit the newest stay."""
        self.seen += len(samples)
        samples = samples[-(self._most // 2) :]
        while self._count + len(samples) > self._most:
            self._thin()
        self._kept[self._count : self._count + len(samples)] = samples
        self._count += len(samples)

    def ordered(self) -> np.ndarray:
        """All of them in the order of time; processors hand theirs over one after another."""
        kept = self._kept[: self._count]
        return kept[np.argsort(kept["time"], kind="stable")]

    def _thin(self) -> None:
        ordered = self.ordered()
        border = (len(ordered) + 1) // 2
        rest = np.concatenate([ordered[1:border:2], ordered[border:]])
        self._kept[: len(rest)] = rest
        self._count = len(rest)
