"""Runs work beside other work, and repeats a refresh: after each notification, and at least every few seconds."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from serving.stores.shared_loads import PostgresDownError

_SPACING_SECONDS: Final = 0.1
"""Changes within so short a time are read together."""
_WAIT_SECONDS: Final = 1.0
_MOST_WAITING: Final = 16
"""Callers that may wait for a refresh at the same time: unknown callers cause them, and may not fill the server."""
_log: Final = logging.getLogger(__name__)


@asynccontextmanager
async def meanwhile(*works: Coroutine[Any, Any, object]) -> AsyncIterator[None]:
    """Run work within the block, and cancel it at its end."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def wait(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, at most so long."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


class Refresher:
    """Runs one refresh at a time."""

    def __init__(self, refresh: Callable[[], Awaitable[object]], seconds: float) -> None:
        """Call `refresh` at least every so many seconds."""
        self._refresh, self._seconds = refresh, seconds
        self._woken = asyncio.Event()
        self._next_ended = asyncio.Event()
        """Set at the end of the refresh that begins next."""
        self._waiting = 0

    def wake(self) -> None:
        """Refresh soon."""
        self._woken.set()

    async def refreshed(self) -> None:
        """Return after a refresh that began after this call; after a second, or if too many wait, without it."""
        if self._waiting >= _MOST_WAITING:
            return
        self._waiting += 1
        self.wake()
        try:
            await wait(self._next_ended, _WAIT_SECONDS)
        finally:
            self._waiting -= 1

    async def run(self) -> None:
        """Refresh until cancelled. After an error, what was read last stays."""
        while True:
            self._woken.clear()
            ended, self._next_ended = self._next_ended, asyncio.Event()
            try:
                await self._refresh()
            except PostgresDownError:
                pass
            except Exception:
                _log.exception("A refresh failed; what was read last stays.")
            finally:
                ended.set()
            await wait(self._woken, self._seconds)
            await asyncio.sleep(_SPACING_SECONDS)
