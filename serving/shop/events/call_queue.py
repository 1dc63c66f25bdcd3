"""Sends calls to the collector in batches. Pages put them here and go on, however slow the collector is."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

import httpx

from serving.shop.events.calls import Call, is_answer, now

_MOST: Final = 5_000
_BATCH: Final = 100
_LINGER_SECONDS: Final = 0.05
_PATIENCE_SECONDS: Final = 5.0
_FIRST_WAIT, _LONGEST_WAIT = 0.25, 5.0
_LAST_SECONDS: Final = 3.0
_LAST_PATIENCE_SECONDS: Final = 1.0
_TOO_LARGE: Final = 413
_log: Final = logging.getLogger(__name__)


class CallQueue:
    """Calls that wait in memory. Beyond `most`, the earliest events are lost, and the log counts them.

    Answers about consent overtake events: they are worth more than any of them.
    """

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
            lost = next((one for one in self._waiting if not is_answer(one)), self._waiting[0])
            self._waiting.remove(lost)
            self._lose([lost], "too many wait")
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
        """Send meanwhile. At the end, what waits gets some more seconds, which no long wait or slow answer uses up."""
        usual = asyncio.create_task(self._run(_PATIENCE_SECONDS, _LONGEST_WAIT))
        try:
            yield
        finally:
            await _ended(usual)
            last = asyncio.create_task(self._run(_LAST_PATIENCE_SECONDS, _FIRST_WAIT))
            if not await self.sent(_LAST_SECONDS):
                self._lose(self._waiting, "the shop ends")
            await _ended(last)

    async def _run(self, patience: float, longest_wait: float) -> None:
        wait = _FIRST_WAIT
        while True:
            await self._some.wait()
            await asyncio.sleep(_LINGER_SECONDS)
            if await self._send(self._next(), patience):
                wait = _FIRST_WAIT
            else:
                await asyncio.sleep(wait)
                wait = min(longest_wait, 2 * wait)

    def _next(self) -> list[Call]:
        """Return the calls to send now. If not all fit, answers about consent come before the earliest events."""
        waiting = list(self._waiting)
        if len(waiting) > _BATCH:
            waiting.sort(key=lambda call: not is_answer(call))
        return waiting[:_BATCH]

    def _forget(self, batch: Sequence[Call]) -> None:
        """Drop calls that need no repetition, as far as they still wait."""
        done = {id(call) for call in batch}
        self._waiting = deque(call for call in self._waiting if id(call) not in done)
        if not self._waiting:
            self._some.clear()
            self._none.set()

    async def _send(self, batch: Sequence[Call], patience: float) -> bool:
        """Return whether no call needs a repetition: each is durable, or the collector refuses it for good.

        A batch that is too large is sent in halves, so that only a call that is too large by itself is lost.
        """
        body = {"batch": batch, "sentAt": now()}
        try:
            answer = await self._client.post("/v1/batch", json=body, auth=self._login, timeout=patience)
        except httpx.HTTPError:
            return False
        if answer.status_code == 429 or answer.status_code >= 500:
            return False
        if answer.status_code == _TOO_LARGE and len(batch) > 1:
            half = len(batch) // 2
            return await self._send(batch[:half], patience) and await self._send(batch[half:], patience)
        if not answer.is_success:
            self._lose(batch, f"the collector refuses them with {answer.status_code}")
        self._forget(batch)
        return True

    def _lose(self, calls: Collection[Call], reason: str) -> None:
        self.lost += len(calls)
        answers = sum(map(is_answer, calls))
        text = "%d calls are lost (%d so far; answers about consent: %d): %s."
        _log.error(text, len(calls), self.lost, answers, reason)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
