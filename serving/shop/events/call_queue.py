"""Sends calls to the collector in batches. Pages put them here and go on, however slow the collector is."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import httpx

from serving.shop.events.calls import Call, now

_MOST: Final = 5_000
_BATCH: Final = 100
_LINGER_SECONDS: Final = 0.05
_PATIENCE_SECONDS: Final = 5.0
_FIRST_WAIT, _LONGEST_WAIT = 0.25, 5.0
_LAST_SECONDS: Final = 3.0
_log: Final = logging.getLogger(__name__)


class CallQueue:
    """Calls that wait in memory. Beyond `most`, the earliest events are lost, and the log counts them."""

    def __init__(self, client: httpx.AsyncClient, key: str, most: int = _MOST) -> None:
        """Send through this client, with a key of the collector."""
        self._client, self._login, self._most = client, httpx.BasicAuth(key, ""), most
        self._waiting: deque[Call] = deque()
        self._some, self._none = asyncio.Event(), asyncio.Event()
        self._none.set()
        self.lost = 0

    def put(self, call: Call) -> None:
        """Take a call; return at once."""
        if len(self._waiting) >= self._most:
            # A visitor's answer about consent is worth more than any event.
            event = next((one for one in self._waiting if one["type"] != "identify"), self._waiting[0])
            self._waiting.remove(event)
            self._lose(1, "too many wait")
        self._waiting.append(call)
        self._none.clear()
        self._some.set()

    async def sent(self, seconds: float) -> bool:
        """Return whether all calls are durable in this time."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._none.wait(), seconds)
        return self._none.is_set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send meanwhile; at the end, what waits gets some more seconds."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            if not await self.sent(_LAST_SECONDS):
                self._lose(len(self._waiting), "the shop ends")
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        wait = _FIRST_WAIT
        while True:
            await self._some.wait()
            await asyncio.sleep(_LINGER_SECONDS)
            batch = list(self._waiting)[:_BATCH]
            if await self._send(batch):
                wait = _FIRST_WAIT
                self._forget(batch)
            else:
                await asyncio.sleep(wait)
                wait = min(_LONGEST_WAIT, 2 * wait)

    def _forget(self, batch: list[Call]) -> None:
        """Drop calls that are durable, as far as they still wait."""
        sent = {id(call) for call in batch}
        while self._waiting and id(self._waiting[0]) in sent:
            self._waiting.popleft()
        if not self._waiting:
            self._some.clear()
            self._none.set()

    async def _send(self, batch: list[Call]) -> bool:
        """Return whether the batch needs no repetition: it is durable, or the collector refuses it for good."""
        body = {"batch": batch, "sentAt": now()}
        try:
            answer = await self._client.post("/v1/batch", json=body, auth=self._login, timeout=_PATIENCE_SECONDS)
        except httpx.HTTPError:
            return False
        if answer.status_code == 429 or answer.status_code >= 500:
            return False
        if not answer.is_success:
            self._lose(len(batch), f"the collector refuses them with {answer.status_code}")
        return True

    def _lose(self, number: int, reason: str) -> None:
        self.lost += number
        _log.error("%d events are lost (%d so far): %s.", number, self.lost, reason)
