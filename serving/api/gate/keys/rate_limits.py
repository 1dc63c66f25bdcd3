"""Limits the requests of each key by a token bucket: a steady rate, and one second's worth at once."""

import math
from time import monotonic


class TokenBucket:
    """The requests that a key may still send."""

    __slots__ = ("_filled_at", "_tokens", "burst", "policy", "rate")

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.burst = max(1.0, rate)
        self.policy = b'"default";q=%d;w=%d' % (math.ceil(rate), 1) if rate >= 1 else b'"default";q=1;w=%d' % (1 / rate)
        self._tokens = self.burst
        self._filled_at = monotonic()

    def take(self, count: float = 1) -> bool:
        """Take some requests; return whether all are allowed."""
        now = monotonic()
        self._tokens = min(self.burst, self._tokens + (now - self._filled_at) * self.rate)
        self._filled_at = now
        if self._tokens < count:
            return False
        self._tokens -= count
        return True

    def take_of_page(self, count: int) -> bool:
        """Take the further calls of a batch by a key that many visitors share; return whether they are allowed.

        The batch waits until the bucket has as many, or is full, so that single calls of others come before it.
        """
        allowed = self.take(min(count, self.burst - 1))
        if allowed:
            self.charge(max(0, math.ceil(count - self.burst + 1)))
        return allowed

    def charge(self, count: int) -> None:
        """Take more requests after one was allowed; the debt delays the next ones until it is paid in full."""
        self._tokens -= count

    def seconds_left(self) -> int:
        """Return the seconds until the next request is allowed, rounded up."""
        return max(1, math.ceil((1 - self._tokens) / self.rate))

    def header(self) -> bytes:
        """Return the value of the RateLimit header: what remains, and the seconds until it is full again."""
        return b'"default";r=%d;t=%d' % (max(0, self._tokens), math.ceil((self.burst - self._tokens) / self.rate))
