"""How many alerts of one rule are told in a while."""

from __future__ import annotations

from dataclasses import dataclass

MINUTE = 60_000_000_000  # nanoseconds


@dataclass
class _Bucket:
    tokens: float
    filled: int
    held_back: int = 0


class RateLimit:
    """A token bucket for each rule: at most ``per_minute`` alerts in the long run, so many at once as well.

    Of rules there are as many as the rule files have; nothing in an event makes one.
    """

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        self._buckets: dict[str, _Bucket] = {}

    def admit(self, rule: str, now: int) -> bool:
        """May an alert be told? If not, it is counted. ``now`` is in nanoseconds."""
        bucket = self._buckets.setdefault(rule, _Bucket(self.per_minute, now))
        gained = (now - bucket.filled) * self.per_minute / MINUTE
        bucket.tokens, bucket.filled = min(self.per_minute, bucket.tokens + gained), now
        if bucket.tokens < 1:
            bucket.held_back += 1
            return False
        bucket.tokens -= 1
        return True

    def take_held_back(self) -> dict[str, int]:
        """How many of each rule were held back since this was asked last."""
        held = {rule: bucket.held_back for rule, bucket in self._buckets.items() if bucket.held_back}
        for rule in held:
            self._buckets[rule].held_back = 0
        return held
