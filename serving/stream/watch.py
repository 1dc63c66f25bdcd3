"""Shows the lag of a queue and the dead letters: as metrics, and in the database for alerts and `status`."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final, get_args

from serving.http import metrics
from serving.stream.dead_letters import open_letters
from serving.stream.delivery import Reason
from serving.stream.pauses import wait
from serving.stream.settlement import Settlement

_LOG: Final = logging.getLogger(__name__)
_EVERY: Final = 5.0
_REASONS: Final[tuple[Reason, ...]] = get_args(Reason)
_SEEN: Final = """
    INSERT INTO streams (queue, source, lag) VALUES ($1, $2, $3)
    ON CONFLICT (queue) DO UPDATE SET source = excluded.source, lag = excluded.lag, seen_at = now()"""


class Watch:
    """Looks every few seconds."""

    def __init__(self, settlement: Settlement, queue: str, lag: Callable[[], Awaitable[int]]) -> None:
        """Watch a queue whose `lag` the broker knows."""
        self._settlement, self._queue, self._lag = settlement, queue, lag
        self._shown: Counter[str] = Counter()

    async def run(self, ended: asyncio.Event) -> None:
        """Look until `ended`. An outage is left to those who store messages.

        Nobody cancels it: the client of RabbitMQ may lose a cancellation.
        """
        while not ended.is_set():
            try:
                async with asyncio.timeout(_EVERY):
                    await self.look()
            except Exception as error:
                _LOG.debug("The lag of %s is not known: %s.", self._queue, type(error).__name__)
            await wait(ended, _EVERY)
        self.show_counts()

    async def look(self) -> None:
        """Show the present state. Raises the error of an outage."""
        self.show_counts()
        lag = await self._lag()
        metrics.STREAM_LAG.labels(self._queue).set(lag)
        async with self._settlement.pool.acquire() as connection:
            await connection.execute(_SEEN, self._queue, self._settlement.reader.source, lag)
            letters = await open_letters(connection)
        for reason in _REASONS:
            metrics.DEAD_LETTERS.labels(reason).set(letters.get(reason, 0))

    def show_counts(self) -> None:
        """Add what was settled since the last look."""
        for outcome, count in self._settlement.counts.items():
            metrics.STREAM_MESSAGES.labels(outcome).inc(count - self._shown[outcome])
            self._shown[outcome] = count
