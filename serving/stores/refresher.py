"""Repeats a refresh: after each notification, and at least every few seconds."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from serving.stores.database.errors import PostgresDownError

_SPACING_SECONDS: Final = 0.1
"""Changes within so short a time are read together."""
_log: Final = logging.getLogger(__name__)


class Refresher:
    """Runs one refresh at a time."""

    def __init__(self, refresh: Callable[[], Awaitable[object]], seconds: float) -> None:
        """Call `refresh` at least every so many seconds."""
        self._refresh, self._seconds = refresh, seconds
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Refresh soon."""
        self._woken.set()

    async def run(self) -> None:
        """Refresh until cancelled. After an error, what was read last stays."""
        while True:
            self._woken.clear()
            try:
                await self._refresh()
            except PostgresDownError:
                pass
            except Exception:
                _log.exception("A refresh failed; what was read last stays.")
            with suppress(TimeoutError):
                async with asyncio.timeout(self._seconds):
                    await self._woken.wait()
            await asyncio.sleep(_SPACING_SECONDS)
