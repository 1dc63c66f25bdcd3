"""What a database that is away costs: an error, and a breaker that stops asking one request after the other."""

from time import monotonic


class PostgresDownError(Exception):
    """Postgres did not answer in time, not at all, or with an error."""


class CircuitBreaker:
    """Opens after `failures` in a row; after `seconds` one caller at a time may try again."""

    def __init__(self, failures: int = 3, seconds: float = 1.0) -> None:
        self._failures, self._seconds = failures, seconds
        self._failed, self._retry_at = 0, 0.0

    @property
    def is_open(self) -> bool:
        """Return whether callers are refused, but for one that tries again."""
        return self._failed >= self._failures

    def allows(self) -> bool:
        """Return whether the caller may ask. It has to report the result."""
        if self._failed < self._failures:
            return True
        now = monotonic()
        if now < self._retry_at:
            return False
        self._retry_at = now + self._seconds  # others wait for the result of this one
        return True

    def succeeded(self) -> None:
        """Close the circuit."""
        self._failed = 0

    def failed(self) -> None:
        """Count a failure."""
        self._failed += 1
        self._retry_at = monotonic() + self._seconds
