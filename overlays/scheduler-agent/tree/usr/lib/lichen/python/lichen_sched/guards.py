"""What watches the scheduler: how long tasks wait, against what they wait under EEVDF; and when to try again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .layout import bucket_start_ns

# Delays in a look, below which nothing can be said of the 99th percentile.
LEAST = 200
# Looks at EEVDF before our scheduler is tried for the first time.
MEASURED = 3
# Looks in a row with too long delays. One alone may be a moment in which the load changed.
PATIENCE = 3
# Bands of pressure: percent of the last 10 s in which some task waited for a processor.
BANDS = (5.0, 20.0, 50.0, 80.0)
# Weight of a new look in what is known of EEVDF.
NEW = 0.25


def quantile(counts: Sequence[int], share: float) -> float:
    """Seconds that this share of delays does not exceed, from above by at most a quarter; 0 when there are none."""
    total, passed = sum(counts), 0
    for bucket, count in enumerate(counts):
        passed += count
        if count and passed >= share * total:
            return bucket_start_ns(bucket + 1) / 1e9
    return 0.0


def longest(counts: Sequence[int]) -> float:
    """The longest delay, from above by at most a quarter, seconds."""
    return quantile(counts, 1.0)


def band(pressure: float) -> int:
    """Which band a pressure, in percent, is in."""
    return sum(pressure >= border for border in BANDS)


@dataclass(frozen=True)
class Limits:
    """What is too long.

    Attributes:
        factor: times the 99th percentile under EEVDF.
        floor: seconds; shorter delays are never too long.
        longest: seconds of a single delay.
    """

    factor: float
    floor: float
    longest: float


@dataclass
class Delays:
    """Looks at delays, EEVDF's and ours.

    Attributes:
        usual: of each band of pressure, the 99th percentile under EEVDF, seconds.
        looks: at EEVDF so far.
    """

    limits: Limits
    usual: dict[int, float] = field(default_factory=dict)
    looks: int = 0
    too_long: int = 0

    def measure(self, counts: Sequence[int], pressure: float) -> None:
        """Take in delays under EEVDF."""
        self.too_long = 0
        if sum(counts) < LEAST:
            return
        seen, where = quantile(counts, 0.99), band(pressure)
        self.looks += 1
        before = self.usual.get(where, seen)
        self.usual[where] = before + NEW * (seen - before)

    def limit(self, pressure: float) -> float:
        """The 99th percentile from which on it is too long, seconds.

        Of a band that EEVDF was not seen in, the next lower one counts: under more load EEVDF's delays are longer, so
        we may return too early, and then EEVDF is seen there.
        """
        known = [self.usual[where] for where in range(band(pressure), -1, -1) if where in self.usual]
        return max(self.limits.floor, self.limits.factor * known[0] if known else 0.0)

    def judge(self, counts: Sequence[int], pressure: float) -> str:
        """Take in delays under our scheduler; the reason to return to EEVDF, "" when there is none."""
        if (wait := longest(counts)) > self.limits.longest:
            return f"a task waited up to {wait:.2f} s for a processor, the limit is {self.limits.longest:g} s"
        if sum(counts) < LEAST:
            return ""
        seen, limit = quantile(counts, 0.99), self.limit(pressure)
        self.too_long = self.too_long + 1 if seen > limit else 0
        if self.too_long < PATIENCE:
            return ""
        self.too_long = 0
        return (
            f"the 99th percentile of run-queue delays was above its limit {PATIENCE} times in a row, the last time "
            f"{seen * 1000:.1f} ms with a limit of {limit * 1000:.1f} ms at a pressure of {pressure:.0f} %"
        )


@dataclass
class Returns:
    """Returns to EEVDF that nobody asked for, and when our scheduler may be tried again.

    Attributes:
        count: of returns without a day of good service between them.
        until: before this there is no new try, seconds since 1970.
        most: after so many a person has to say so.
        reasons: of the last ones, with their times.
    """

    first_wait: float
    most: int
    count: int = 0
    until: float = 0.0
    since: float = 0.0
    reasons: list[tuple[float, str]] = field(default_factory=list)

    @property
    def given_up(self) -> bool:
        """Whether a person has to say so."""
        return self.count >= self.most

    def happened(self, now: float, reason: str) -> None:
        """Wait twice as long as the last time. ``now`` is in seconds since 1970."""
        self.until = now + self.first_wait * 2**self.count
        self.count += 1
        self.since = 0.0
        self.reasons = [*self.reasons, (now, reason)][-10:]

    def tried(self, now: float) -> None:
        """Our scheduler is in force from now on."""
        self.since = now

    def serves(self, now: float) -> None:
        """Our scheduler is still in force; after a day of that what was before is forgiven."""
        if self.count and self.since and now - self.since > 86400:
            self.count = 0

    def forget(self) -> None:
        """A person said so."""
        self.count, self.until = 0, 0.0

    def to_json(self) -> Mapping[str, object]:
        """What :meth:`recall` takes."""
        return {"count": self.count, "until": self.until, "reasons": self.reasons}

    def recall(self, kept: Mapping[str, object], now: float) -> None:
        """Go on from what was kept. A clock that went back must not make the wait endless.

        Raises:
            KeyError, TypeError, ValueError: it is damaged.
        """
        count, until = int(kept["count"]), float(kept["until"])
        reasons = [(float(time), str(reason)) for time, reason in kept["reasons"]]
        if count < 0 or not until < float("inf"):
            raise ValueError("a number is out of range")
        self.count, self.reasons = count, reasons[-10:]
        self.until = min(until, now + self.first_wait * 2 ** min(count, self.most))
