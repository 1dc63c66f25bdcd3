"""Reads the time by the database's clock, also while the database is down."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncpg

_BETWEEN: Final = 30.0
"""Seconds between two comparisons."""


@dataclass
class DatabaseClock:
    """The difference between the database's clock and that of this machine."""

    ahead: timedelta = timedelta()
    _compared_at: float = float("-inf")

    def now(self) -> datetime:
        """Return the time; before the first comparison it is the machine's."""
        return datetime.now(UTC) + self.ahead

    async def compare(self, pool: "asyncpg.Pool") -> None:
        """Compare the clocks, unless that was done a moment ago."""
        if time.monotonic() - self._compared_at > _BETWEEN:
            asked = datetime.now(UTC)
            moment: datetime = await pool.fetchval("SELECT clock_timestamp()")
            answered = datetime.now(UTC)
            # The database read its clock somewhere between: half of the time is the largest error.
            self.ahead, self._compared_at = moment - asked - (answered - asked) / 2, time.monotonic()


CLOCK: Final = DatabaseClock()
"""The clock of this process."""
