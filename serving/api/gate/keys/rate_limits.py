"""Limits the requests of each key by a token bucket: a steady rate, and one second's worth at once."""

import math
from time import monotonic


class TokenBucket:
    """The requests that a key may still send."""

    __slots__ = ("_filled_at", "_tokens", "burst", "policy", "rate")

    def __init__(self, rate: float, burst: float = 1.0) -> None:
        self.rate = rate
        self.burst = max(burst, rate)
        self.policy = b'"default";q=%d;w=%d' % (math.ceil(rate), 1) if rate >= 1 else b'"default";q=1;w=%d' % (1 / rate)
        self._tokens = self.burst
        self._filled_at = monotonic()

    def take(self) -> bool:
        """Take one request; return whether it is allowed."""
        now = monotonic()
        self._tokens = min(self.burst, self._tokens + (now - self._filled_at) * self.rate)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def drain(self, count: int) -> None:
        """Take more requests as far as there are any."""
        self._tokens = max(min(0.0, self._tokens), self._tokens - count)

    def charge(self, count: int) -> None:
        """Take more requests after one was allowed; the debt delays the next ones until it is paid in full."""
        self._tokens -= count

    def seconds_left(self) -> int:
        """Return the seconds until the next request is allowed, rounded up."""
        return max(1, math.ceil((1 - self._tokens) / self.rate))

    def header(self) -> bytes:
        """Return the value of the RateLimit header: what remains, and the seconds until it is full again."""
        return b'"default";r=%d;t=%d' % (max(0, self._tokens), math.ceil((self.burst - self._tokens) / self.rate))


class VisitorBucket(TokenBucket):
    """The requests that one address may still send with a page's key: a quarter of the rate that all visitors share.

    A debt is that of the address alone, so that one sender does not silence the others.
    """

    __slots__ = ("_shared",)

    def __init__(self, shared: TokenBucket) -> None:
        super().__init__(shared.rate / 4, shared.burst)
        self._shared = shared

    def take(self) -> bool:
        """Take one request of the address and of the key; return whether both are allowed."""
        return super().take() and self._shared.take()

    def charge(self, count: int) -> None:
        """Take more requests after one was allowed."""
        super().charge(count)
        self._shared.drain(count)
