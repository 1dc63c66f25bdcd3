"""Knows which visitors clicked lately, so that only their requests read their clicks."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Final

from serving.answers.request import Visitor
from serving.events.profiles import NO_ACTS, LatestItems, latest_items
from serving.stores.changes import Changes
from serving.stores.database.errors import PostgresDownError
from serving.stores.database.postgres import Postgres
from serving.stores.refresher import Refresher

_SECONDS: Final = 2.0
"""The time until clicks are noticed without a notification."""
_OVERLAP: Final = 10.0
"""Seconds that are read again: a transaction may commit after a later one was read."""
_MOST: Final = 200_000
"""Visitors that are remembered; the oldest are forgotten first."""

_CLICKED: Final = """
SELECT subject, extract(epoch FROM updated_at)::float8, extract(epoch FROM expires_at - now())::float8
FROM session_profiles WHERE updated_at >= to_timestamp($1) AND expires_at > now() ORDER BY updated_at LIMIT $2
"""


class SessionClicks:
    """The visitors with clicks that have not expired, and their items."""

    def __init__(self, requests: Postgres, background: Postgres) -> None:
        """Read items through `requests`, and who clicked through `background`."""
        self._requests, self._background = requests, background
        self._until: dict[str, float] = {}
        self._read_until = 0.0

    @asynccontextmanager
    async def running(self, changes: Changes) -> AsyncIterator[None]:
        """Follow clicks meanwhile."""
        refresher = Refresher(self.refresh, _SECONDS)
        changes.on("session_profiles", refresher.wake)
        task = asyncio.create_task(refresher.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def refresh(self) -> None:
        """Read who clicked since the last time. Raises PostgresDownError."""
        rows = await self._background.fetch(_CLICKED, self._read_until - _OVERLAP, _MOST)
        now = monotonic()
        for subject, at, seconds in rows:
            self._until.pop(subject, None)  # the latest come last
            self._until[subject] = now + seconds
            self._read_until = max(self._read_until, at)
        while len(self._until) > _MOST:
            del self._until[next(iter(self._until))]

    def maybe(self, visitor: Visitor) -> bool:
        """Return, without waiting, whether the visitor clicked lately."""
        return any(self._is_active(key) for key in (visitor.user_key, visitor.session_key))

    async def items(self, visitor: Visitor) -> LatestItems:
        """Return the items of the latest acts; none if they cannot be read in time."""
        active = (key if self._is_active(key) else None for key in (visitor.user_key, visitor.session_key))
        try:
            return await latest_items(self._requests, *active)
        except PostgresDownError:
            return NO_ACTS

    def _is_active(self, key: str | None) -> bool:
        until = None if key is None else self._until.get(key)
        return until is not None and until > monotonic()
