"""Stores calls: an answer waits until they are durable."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from infra.keys.api_keys import ApiKey
from serving.collector.bodies import SentCalls
from serving.events.clock import CLOCK

if TYPE_CHECKING:
    from serving.collector.collector import Collector
    from serving.events.writer import EventWriter


class QuotaSpentError(Exception):
    """The daily quota of a page key is spent, and a visitor was not seen before today."""


class CallIntake:
    """Takes calls of Segment's libraries."""

    def __init__(self, open_collector: "Callable[[], Collector]", writer: "EventWriter") -> None:
        """Open the collector with the first call: it needs Arrow, and many servers never collect."""
        self._open, self._writer = open_collector, writer
        self._collector: Collector | None = None

    async def take(self, sent: SentCalls, key: ApiKey, size: int) -> None:
        """Return when all calls, of so many bytes, are durable. Raises as `EventWriter.write`, and QuotaSpentError."""
        if self._collector is None:
            self._collector = await asyncio.to_thread(self._open)
        messages = self._collector.messages(sent, key.name, CLOCK.now(), key.kind)
        if key.kind == "page" and messages:
            if key.is_spent and await self._writer.any_is_new({one.speaker for one in messages}):
                raise QuotaSpentError
            charged = key.key_id, size // len(messages)
            messages = [replace(one, charged=charged) for one in messages]
        if messages:
            await self._writer.write(*messages)
