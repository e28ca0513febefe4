"""Histograms of delays: fine ones of the probe, and those of the kernel's map "delays"."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

PARTS = 32  # of an octave: a bucket is 2.2 % wide


def bucket(delay_ns: int) -> int:
    """The number of the bucket for a delay; everything below a microsecond is in the first."""
    return max(0, math.floor(PARTS * math.log2(max(delay_ns, 1) / 1000)))


def counted(delays_ns: Iterable[int]) -> dict[str, int]:
    """Delays as counts by bucket; JSON's keys are strings."""
    return {str(number): count for number, count in sorted(Counter(map(bucket, delays_ns)).items())}


def pooled(histograms: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Several as one."""
    total: Counter[str] = Counter()
    for histogram in histograms:
        total.update(histogram)
    return dict(total)


def quantile(histogram: Mapping[str, int], share: float) -> float | None:
    """Microseconds below which ``share`` of the delays are, from within the bucket; None of none."""
    edges = {int(number): count for number, count in histogram.items()}
    return _quantile([(_edge(n), _edge(n + 1), edges[n]) for n in sorted(edges)], share)


def kernel_quantile(counts: Sequence[int], share: float) -> float | None:
    """The same of the kernel's: bucket 4 e + q holds delays from 2^e (1 + q/4) microseconds on."""
    spans = [(_kernel_edge(n) if n else 0.0, _kernel_edge(n + 1), count) for n, count in enumerate(counts) if count]
    return _quantile(spans, share)


def _edge(number: int) -> float:
    return float(2 ** (number / PARTS))


def _kernel_edge(number: int) -> float:
    return float(2 ** (number // 4) * (1 + number % 4 / 4))


def _quantile(spans: Sequence[tuple[float, float, int]], share: float) -> float | None:
    total = sum(count for _, _, count in spans)
    seen = 0.0
    for low, high, count in spans:
        if seen + count >= share * total:
            return low + (high - low) * max(0.0, share * total - seen) / count
        seen += count
    return None
